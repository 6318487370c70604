"""The command line of a server."""

from __future__ import annotations

from server.commands import main


def test_a_server_without_arguments_has_the_options_of_the_parser():
    assert vars(main.options([])) == vars(main.serving_options().parse_args([]))
