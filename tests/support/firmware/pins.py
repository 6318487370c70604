"""The relay pins, off at power-on: each change is printed as a line of JSON."""

import json

_pins = {"cool": False, "heat": False}


def switch(name, on):
    if _pins[name] != on:
        _pins[name] = on
        print(json.dumps({"changed": name, "on": on}))


def end_cycle(sent, obeyed):
    """Print the end of a post: its body, whether the answer was obeyed, and the pins."""
    print(json.dumps({"sent": sent, "obeyed": obeyed, "pins": _pins}))
