"""A real SMTP server for tests: prints its port, then keeps each message as a file of the folder given.

With a second argument `starttls` it insists on TLS with the certificate cert.pem and key.pem of that folder.
"""

import asyncio
import os
import pathlib
import ssl
import sys

from aiosmtpd.smtp import SMTP


class Keeper:
    def __init__(self, folder):
        self.folder = folder
        self.count = 0

    async def handle_DATA(self, server, session, envelope):
        self.count += 1
        text = f"{envelope.mail_from}\n{','.join(envelope.rcpt_tos)}\n".encode() + envelope.content
        partial = self.folder / f".{self.count}"
        partial.write_bytes(text)
        partial.rename(self.folder / f"{self.count}.eml")
        return "250 kept"


async def serve(folder, mode):
    more = {}
    if mode == "starttls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        more = {"tls_context": context, "require_starttls": True}
    keeper = Keeper(folder)
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(keeper, hostname="localhost", **more), "127.0.0.1", 0)
    os.write(1, f"{server.sockets[0].getsockname()[1]}\n".encode())  # in one piece
    await server.serve_forever()


asyncio.run(serve(pathlib.Path(sys.argv[1]), "".join(sys.argv[2:])))
