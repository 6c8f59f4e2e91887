"""The table of attacks: each row is a case of one class, run on every transport and with --isolate too."""

CASES = []


class Case:
    def __init__(self, run, name, text, on, flags, isolated):
        self.run, self.name, self.text, self.on, self.flags, self.isolated = run, name, text, on, flags, isolated


def case(name, text, on=("stdio", "ws", "http"), flags=(), isolated=None):
    """Registers an attack. It gets an open Target and returns what stopped it; what was not stopped fails an assert.

    `flags`: what the server is started with besides. `isolated`: None = both ways, True or False = that way only.
    """
    def add(run):
        CASES.append(Case(run, name, text, on, tuple(flags), isolated))
        return run
    return add


def refused(result, *parts):
    """The text of a failed call, which must have one of the parts where some are given."""
    assert result is not None, "no answer"
    if "isError" not in result and "code" in result:
        text = result["message"]
    else:
        assert result.get("isError"), f"was done: {str(result)[:300]}"
        text = result["content"][0]["text"]
    assert not parts or any(p in text for p in parts), f"refused with another reason: {text[:300]}"
    return text


def succeeded(result):
    assert result is not None and not result.get("isError") and "code" not in result, f"was refused: {str(result)[:300]}"
    return result


def text_of(result):
    return "".join(block.get("text", "") for block in result.get("content", []))
