"""The ways round the egress plane: (what, how it is tried inside, what has to be seen for it to count as stopped).

What is seen: a rule of the 403 (`rule`), a DNS code, an error of the kernel, or an end of the connection; for the last
the journal has to name the rule as well, at the host or address that is given as the fourth.
"""

REQUEST = r"b'GET / HTTP/1.1\r\nHost: {}\r\n\r\n'"
CLOSED = r"CLOSED|ConnectionReset|EOF|UNEXPECTED_EOF|reset"


def rule(name):
    return f'"rule":"{name}"'


NAME = "No address associated|Name or service not known|Temporary failure|not known"
GONE = "DNS: no record, code 3"
REFUSED = "Connection refused|ECONNREFUSED"
UNREACHABLE = "unreachable|not permitted|Permission denied|refused|timed out"

THROUGH = [
    ("plain HTTP to an allowed name", "http('good.example', 'good.example')"),
    ("TLS to an allowed name", "tls('good.example', 'good.example')"),
    ("IPv6 to an allowed name", "http('2001:db8::10', 'good.example')"),
    ("a CNAME to an allowed place", "http('fine.example', 'fine.example')"),
    ("one label under *.", "http('a.wild.example', 'a.wild.example')"),
    ("two labels under **.", "http('x.y.any.example', 'x.y.any.example')"),
    ("a listed port", "http('port.example', 'port.example', 8080)"),
    ("a listed address, server speaks first", "tcp('203.0.113.14', 7000)"),
    ("a name that was looked up, server speaks first", "tcp('good.example', 7001)"),
    ("TLS on an odd port, by its name", "tls('good.example', 'good.example', 8443)"),
    ("mixed case and trailing dot", "http('GOOD.example.', 'Good.Example.')"),
    ("absolute URI of the same host", "http('good.example', 'good.example', 80, 'http://good.example/')"),
    ("a redirection to an allowed host", "fetch('http://good.example/to-a.wild.example')"),
    ("TXT of an allowed name", "dns('good.example', 16)"),
    ("SRV of an allowed name", "dns('_http._tcp.good.example', 33)"),
    ("DNS by TCP", "dns('good.example', 1, '127.0.0.1', True)"),
    ("PTR of an address that was looked up", "dns('good.example') and dns('10.113.0.203.in-addr.arpa', 12)"),
    ("punycode", "http('xn--bcher-kva.example', 'xn--bcher-kva.example')"),
]

ADDRESS = [
    ("no proxy variables, a name that is not listed", "fetch('http://denied.example/')", NAME),
    ("raw address, HTTP by address", "http('203.0.113.20', '203.0.113.20')", rule("unnamed")),
    ("raw address, no Host", r"tcp('203.0.113.20', 80, b'GET / HTTP/1.0\r\n\r\n')", rule("unnamed")),
    ("raw address, other protocol", "tcp('203.0.113.20', 7001)", CLOSED, ("unnamed", "203.0.113.20")),
    ("decimal address", "http('3405803796', 'denied.example')", rule("not_allowed")),
    ("octal address", "http('0313.0.0161.024', 'denied.example')", rule("not_allowed")),
    ("hexadecimal address", "http('0xcb007114', 'denied.example')", rule("not_allowed")),
    ("decimal address in Host", "http('203.0.113.20', '3405803796')", rule("unnamed")),
    ("IPv4-mapped IPv6", "http('::ffff:203.0.113.20', 'denied.example')", rule("not_allowed")),
    ("IPv6 raw, other Host", "http('2001:db8::10', 'denied.example')", rule("not_allowed")),
    ("IPv6 raw, other protocol", "tcp('2001:db8::20', 7001)", CLOSED, ("unnamed", "2001:db8::20")),
    ("allowed name, port not listed", "http('port.example', 'port.example')", rule("not_allowed")),
    ("listed address, port not listed", "tcp('203.0.113.14', 7001)", CLOSED, ("unnamed|not_allowed", "203.0.113.14")),
    ("metadata by address", "http('169.254.169.254', 'good.example')", rule("inner_address")),
    ("metadata over IPv6", "http('fd00:ec2::254', 'good.example')", rule("inner_address")),
    ("private address with an allowed Host", "http('10.1.2.3', 'good.example')", rule("inner_address")),
    ("link-local address", "http('169.254.1.1', 'good.example')", rule("inner_address")),
    ("mapped private address", "http('::ffff:10.1.2.3', 'good.example')", rule("inner_address")),
    ("NAT64 private address", "http('64:ff9b::a01:203', 'good.example')", rule("inner_address")),
    ("multicast", "http('224.0.0.1', 'good.example')", rule("inner_address") + "|unreachable"),
    ("broadcast", "datagram('255.255.255.255', 5000)", UNREACHABLE),
]

NAMES = [
    ("name that leads to a private address", "http('private.example', 'private.example')", NAME, ("inner_address", "private.example")),
    ("CNAME to a private address", "http('alias.example', 'alias.example')", NAME, ("inner_address", "alias.example")),
    ("DNS rebinding: the second answer is loopback", "dns('rebind.example') and time.sleep(2.5) or dns('rebind.example')", GONE, ("inner_address", "rebind.example")),
    ("name that leads to loopback", "dns('loop.example')", GONE, ("inner_address", "loop.example")),
    ("name that leads to the metadata service", "http('meta.example', 'meta.example')", NAME, ("inner_address", "meta.example")),
    ("name that leads to the host", "http('own.example', 'own.example')", NAME, ("inner_address", "own.example")),
    ("name with a mapped loopback address", "dns('mapped.example', 28)", GONE),
    ("name with a NAT64 loopback address", "dns('nat64.example', 28)", GONE),
    ("two labels under *.", "http('203.0.113.12', 'a.b.wild.example')", rule("not_allowed")),
    ("the wildcard's own name", "http('203.0.113.12', 'wild.example')", rule("not_allowed")),
    ("a suffix without a dot", "http('203.0.113.12', 'evilany.example')", rule("not_allowed")),
    ("two trailing dots", "http('203.0.113.10', 'good.example..')", rule("unnamed")),
    ("mixed case of a denied name", "http('203.0.113.20', 'DeNied.EXAMPLE.')", rule("not_allowed")),
    ("punycode that looks like an allowed name", "http('203.0.113.20', 'xn--god-1na.example')", rule("not_allowed")),
    ("letters beyond ASCII in Host", "tcp('203.0.113.10', 80, 'GET / HTTP/1.1\\r\\nHost: good\\u3002example\\r\\n\\r\\n'.encode())", rule("unnamed")),
    ("another resolver", "dns('denied.example', 1, '203.0.113.53')", GONE),
    ("another resolver by TCP", "dns('denied.example', 1, '203.0.113.53', True)", GONE),
    ("another resolver over IPv6", "dns('denied.example', 28, '2001:db8::10')", GONE),
    ("TXT of a denied name", "dns('denied.example', 16)", GONE),
    ("PTR of an address never looked up", "dns('20.113.0.203.in-addr.arpa', 12)", GONE),
    ("DNS tunnel by long labels", "dns('.'.join(['a' * 60] * 3) + '.any.example')", GONE, ("dns_tunnel", "any.example")),
    ("DNS tunnel by many TXT", "[dns('%050x.any.example' % i, 16) for i in range(400)][-1]", GONE, ("dns_tunnel", "any.example")),
    ("HTTPS records (keys that hide names)", "dns('good.example', 65)", "DNS: no record, code 0"),
    ("any record", "dns('good.example', 255)", "DNS: no record, code 0"),
    ("zone transfer", "dns('good.example', 252, '127.0.0.1', True)", "DNS: no record, code 0"),
    ("DNS over TLS", "tls('203.0.113.53', 'denied.example', 853)", CLOSED, ("not_allowed", "denied.example")),
    ("DNS over HTTPS by name", "tls('203.0.113.53', 'denied.example', 443)", CLOSED, ("not_allowed", "denied.example")),
    ("DNS over HTTPS by address", "tls('203.0.113.53', None, 443)", CLOSED, ("unnamed|no_server_name", "203.0.113.53")),
]

TLS = [
    ("raw address, TLS without SNI", "tls('203.0.113.20', None)", CLOSED, ("unnamed|no_server_name", "203.0.113.20")),
    ("address of an allowed name, TLS without SNI", "tls('203.0.113.10', None)", CLOSED, ("unnamed|no_server_name", "203.0.113.10")),
    ("SNI that contradicts the address", "tls('203.0.113.20', 'good.example')", CLOSED, ("name_contradicts_address", "203.0.113.20")),
    ("SNI of a denied name at an allowed address", "tls('203.0.113.10', 'denied.example')", CLOSED, ("not_allowed", "denied.example")),
    ("SNI ≠ Host ≠ address", "tls('203.0.113.11', 'denied.example', 443, 'good.example')", CLOSED, ("not_allowed", "denied.example")),
    ("Encrypted Client Hello", "tcp('203.0.113.10', 443, hello('good.example', (0xfe0d, b'x' * 64)))", CLOSED, ("hidden_name", "good.example")),
    ("two SNI extensions", "tcp('203.0.113.10', 443, hello('good.example', (0, b'\\0\\7\\0\\0\\4a.bc')))", CLOSED, ("malformed", "203.0.113.10")),
    ("TLS on an odd port to a denied name", "tls('203.0.113.20', 'denied.example', 8443)", CLOSED, ("not_allowed", "denied.example")),
    ("a denied ClientHello after a silence", "dns('good.example') and tcp('203.0.113.10', 443, None, hello('denied.example'))", CLOSED, ("not_allowed", "denied.example")),
    ("half a ClientHello after a silence, the rest too late", "dns('good.example') and tcp('203.0.113.10', 443, None, hello('denied.example')[:20], hello('denied.example')[20:], wait=20, pause=11)",
     CLOSED, ("malformed", "203.0.113.10")),
    ("ClientHello cut in the middle", r"tcp('203.0.113.20', 443, b'\x16\x03\x01\x00\x05\x02abcd')", CLOSED, ("malformed", "203.0.113.20")),
    ("a warning before the ClientHello", r"dns('good.example') and tcp('203.0.113.10', 443, b'\x15\3\1\0\2\1\x5a' + hello('denied.example'))", CLOSED, ("malformed", "203.0.113.10")),
    ("ClientHello in the form of SSL 2", r"dns('good.example') and tcp('203.0.113.10', 443, b'\x80\x2e\1\3\1\0\x15\0\0\0\x10' + b'r' * 40)", CLOSED, ("no_server_name", "203.0.113.10")),
]

HTTP = [
    ("Host that contradicts the address", "http('203.0.113.20', 'good.example')", rule("name_contradicts_address")),
    ("Host of a denied name at an allowed address", "http('203.0.113.10', 'denied.example')", rule("not_allowed")),
    ("absolute URI of another host", "http('good.example', 'good.example', 80, 'http://denied.example/')", rule("malformed")),
    ("absolute URI with a user name", "http('good.example', 'good.example', 80, 'http://good.example@denied.example/')", rule("malformed")),
    ("two Host headers", r"http('good.example', 'good.example', 80, '/', 'Host: denied.example\r\n')", rule("malformed")),
    ("CONNECT chaining by Host", r"tcp('good.example', 80, b'CONNECT denied.example:443 HTTP/1.1\r\nHost: denied.example:443\r\n\r\n')", rule("not_allowed")),
    ("CONNECT chaining under an allowed Host", r"tcp('good.example', 80, b'CONNECT denied.example:443 HTTP/1.1\r\nHost: good.example\r\n\r\n')", rule("malformed")),
    ("both length and chunked", r"tcp('good.example', 80, b'POST / HTTP/1.1\r\nHost: good.example\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n')", rule("malformed")),
    ("lines that end in LF", r"tcp('good.example', 80, b'GET / HTTP/1.1\nHost: denied.example\n\n')", rule("malformed")),
    ("lines that end in LF before one that does not", r"tcp('good.example', 80, b'GET / HTTP/1.1\nHost: denied.example\n\nGET / HTTP/1.1\r\nHost: good.example\r\n\r\n')", rule("malformed")),
    ("an empty line first", r"tcp('good.example', 80, b'\r\nGET / HTTP/1.1\r\nHost: denied.example\r\n\r\n')", rule("malformed")),
    ("tabs for blanks", r"tcp('good.example', 80, b'GET\t/\tHTTP/1.1\r\nHost: denied.example\r\n\r\n')", rule("malformed")),
    ("a method in small letters, letter by letter", r"tcp('good.example', 80, b'g', b'et / HTTP/1.1\r\nHost: denied.example\r\n\r\n')", rule("not_allowed")),
    ("a long first line", r"tcp('good.example', 80, b'GET /' + b'a' * 20000 + b' HTTP/1.1\r\nHost: denied.example\r\n\r\n')", rule("not_allowed")),
    ("HTTP/2 without TLS", r"tcp('good.example', 80, b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')", rule("malformed")),
    ("upgrade to HTTP/2 without TLS", r"tcp('good.example', 80, b'GET / HTTP/1.1\r\nHost: good.example\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n')", rule("malformed")),
    ("a request for another host on a kept connection",
     r"tcp('good.example', 80, b'GET / HTTP/1.1\r\nHost: good.example\r\n\r\nGET / HTTP/1.1\r\nHost: shared.example\r\n\r\n').replace('REACHED good', '')", CLOSED + "|HTTP/1.1 200",
     ("other_host", "good.example")),
    ("a request behind a chunk's end", r"tcp('good.example', 80, b'POST / HTTP/1.1\r\nHost: good.example\r\nTransfer-Encoding: chunked\r\n\r\n0;\n\nGET / HTTP/1.1\nHost: shared.example\n\n\r\n\r\n').replace('REACHED good', '')",
     CLOSED + "|HTTP/1.1 200", ("malformed", "good.example")),
    ("a redirection to a denied host", "fetch('http://good.example/to-denied.example')", NAME),
    ("a redirection to a denied address", "fetch('http://good.example/to-203.0.113.20')", rule("unnamed")),
    ("a redirection to the metadata service", "fetch('http://good.example/to-169.254.169.254')", rule("inner_address")),
]

OTHER = [
    ("QUIC", "datagram('203.0.113.10', 443)", UNREACHABLE),
    ("UDP to an allowed address", "datagram('203.0.113.10', 5000)", UNREACHABLE),
    ("UDP over IPv6", "datagram('2001:db8::10', 5000, socket.AF_INET6)", UNREACHABLE),
    ("UDP-Lite", "datagram('203.0.113.10', 5000, socket.AF_INET, 136)", UNREACHABLE + "|not supported"),
    ("ICMP", "opened(socket.AF_INET, socket.SOCK_DGRAM, 1)", UNREACHABLE),
    ("ICMP over IPv6", "opened(socket.AF_INET6, socket.SOCK_DGRAM, 58)", UNREACHABLE),
    ("raw socket", "opened(socket.AF_INET, socket.SOCK_RAW, 1)", UNREACHABLE),
    ("raw IP of any protocol", "opened(socket.AF_INET, socket.SOCK_RAW, 255)", UNREACHABLE),
    ("packet socket", "opened(17, socket.SOCK_RAW, 0)", UNREACHABLE + "|not supported"),
    ("AF_VSOCK", "opened(40, socket.SOCK_STREAM, 0)", UNREACHABLE + "|not supported"),
    ("netlink, to change the rules", "opened(16, socket.SOCK_RAW, 12)", UNREACHABLE + "|not supported"),
    ("SCTP", "opened(socket.AF_INET, socket.SOCK_STREAM, 132)", UNREACHABLE + "|not supported"),
    ("abstract Unix socket of the host", r"unix('\0caged-bypass-test')", REFUSED + "|not permitted"),
    ("file Unix socket of the host", "unix(HOST_SOCKET)", "No such file"),
    ("the container engine's socket", "unix('/var/run/docker.sock')", "No such file|refused"),
    ("the system bus", "unix('/run/dbus/system_bus_socket')", "No such file|refused"),
    ("the host's localhost services", "tcp('127.0.0.1', 9099)", REFUSED),
    ("the host's localhost services over IPv6", "tcp('::1', 9099)", REFUSED),
    ("the host's localhost services by 0.0.0.0", "tcp('0.0.0.0', 9099)", REFUSED),
    ("the host's localhost services by name", "tcp('localhost', 9099)", REFUSED),
    ("another sandbox's ports by loopback", "tcp('127.0.0.1', 5555)", REFUSED),
    ("another sandbox's ports by its internal address", "tcp('198.18.0.1', 5555)", rule("internal") + "|" + CLOSED, ("internal", "198.18.0.1")),
    ("the Caged API by loopback", "http('127.0.0.1', 'localhost', API)", REFUSED),
    ("the Caged API by the host's address", "http('198.51.100.1', 'localhost', API)", rule("inner_address")),
    ("the Caged API by the internal address", "http('198.18.0.1', 'localhost')", rule("internal")),
    ("the Caged API by an internal name", "http('198.18.0.1', 'api.caged.internal', 80, '/v1/sandboxes')", rule("internal")),
    ("the gate's own port", "http('127.0.0.1', 'good.example', 15001)", rule("inner_address") + "|" + REFUSED + "|" + CLOSED),
]

STOPPED = ADDRESS + NAMES + TLS + HTTP + OTHER
