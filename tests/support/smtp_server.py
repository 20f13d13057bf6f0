"""A real SMTP server (aiosmtpd) for tests.

Prints one JSON object a line: first {"event": "listening", "port": N}, then one for each thing that
happens to a message. Ends when its standard input is closed, so that it never outlives the test.
"""

import argparse
import asyncio
import email
import email.policy
import json
import logging
import ssl
import sys
import warnings

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


def say(event, **facts):
    print(json.dumps({"event": event, **facts}), flush=True)


class Mailbox:
    """Takes messages, puts them off, refuses them, or goes away in the middle, as told."""

    def __init__(self, options):
        self.options = options
        self.seen = 0

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        if self.options.reject:
            say("rejected", to=address)
            return "550 5.1.1 no such mailbox <%s>" % address
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.seen += 1
        if self.seen <= self.options.tempfail:
            say("tempfailed")
            return "451 4.3.0 try again later"
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        say(
            "message",
            sender=envelope.mail_from,
            to=envelope.rcpt_tos,
            subject=message["Subject"],
            message_id=message["Message-ID"],
            text=message.get_content(),
            encrypted=session.ssl is not None or self.options.tls,
            user=session.auth_data,
        )
        if self.seen <= self.options.vanish:
            server.transport.abort()
        return "250 accepted"


def authenticator(expected):
    name, password = expected.split(":", 1)

    def check(server, session, envelope, mechanism, data):
        good = isinstance(data, LoginPassword) and (data.login, data.password) == (
            name.encode(),
            password.encode(),
        )
        if not good:
            say("signin-refused")
            return AuthResult(success=False, handled=False)
        return AuthResult(success=True, auth_data=name)

    return check


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tempfail", type=int, default=0, metavar="N", help="put the first N messages off (451)")
    parser.add_argument("--vanish", type=int, default=0, metavar="N", help="take the first N, but hang up unanswered")
    parser.add_argument("--reject", action="store_true", help="refuse every recipient (550)")
    parser.add_argument("--starttls", action="store_true", help="demand STARTTLS")
    parser.add_argument("--tls", action="store_true", help="speak TLS from the first byte")
    parser.add_argument("--certificate", help="PEM file")
    parser.add_argument("--key", help="PEM file")
    parser.add_argument("--auth", metavar="USER:PASSWORD", help="demand this sign-in")
    return parser.parse_args()


async def main():
    options = parse()
    # Refused handshakes and plain sign-ins are what the tests are about.
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    context = None
    if options.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certificate, options.key)
    mailbox = Mailbox(options)

    def connection():
        return SMTP(
            mailbox,
            hostname="test.example",
            tls_context=context if options.starttls else None,
            require_starttls=options.starttls,
            auth_required=options.auth is not None,
            auth_require_tls=options.starttls,
            authenticator=authenticator(options.auth) if options.auth else None,
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(connection, "127.0.0.1", 0, ssl=context if options.tls else None)
    say("listening", port=server.sockets[0].getsockname()[1])
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


asyncio.run(main())
