#!/usr/bin/env bash
# aiosmtplib returns refused recipients instead of raising, if the server accepted at least one.
#
# Seen with: aiosmtplib 5.1.3 and aiosmtpd 1.4.6 from PyPI, CPython 3.11, November 2026.
# Expected: `await send(message)` that raises nothing has handed the message over for every recipient; the
#   exception SMTPRecipientsRefused is there for those that were refused.
# Seen: it raises only if all recipients were refused. If one was accepted, it returns, and the refused ones
#   are in the first value of the result, which most callers drop.
# Why it matters: the operator on call whose address has a typing error gets no alarm, and nothing says so.
#   Look at the first value of the result, or send one message to each recipient.
# Exit code: 0 while this is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet aiosmtplib==5.1.3 aiosmtpd==1.4.6
cat >"$folder/program.py" <<'PROGRAM'
import asyncio
from email.message import EmailMessage

import aiosmtplib
from aiosmtpd.smtp import SMTP


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody"):
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        return "250 OK"


async def sent(port, *recipients):
    message = EmailMessage()
    message["From"], message["To"] = "bas@site.example", ", ".join(recipients)
    message["Subject"] = "Alarm"
    message.set_content("Zone attic is silent.")
    try:
        refused, _ = await aiosmtplib.send(message, hostname="127.0.0.1", port=port, timeout=20)
    except aiosmtplib.SMTPRecipientsRefused:
        return "raised"
    return f"returned, refused: {list(refused)}"


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Handler(), hostname="here"), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print("all refused:", await sent(port, "nobody@site.example"))
    print("one refused:", await sent(port, "anna@site.example", "nobody@site.example"))


asyncio.run(main())
PROGRAM
seen=$("$folder/venv/bin/python" -W ignore "$folder/program.py")
echo "$seen"
expected="all refused: raised
one refused: returned, refused: ['nobody@site.example']"
[ "$seen" = "$expected" ] || {
    echo "This has changed: expected an exception only where all recipients were refused." >&2
    exit 1
}
