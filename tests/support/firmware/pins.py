"""The relay pins, off at power-on: what happens to them is printed, one JSON line each."""

import json

_pins = {"cool": False, "heat": False}


def switch(name, on):
    if _pins[name] != on:
        _pins[name] = on
        print(json.dumps({"changed": name, "on": on}))


def end_cycle(sent, obeyed):
    """One more post is over: its body, whether the answer was obeyed, and how the pins are."""
    print(json.dumps({"sent": sent, "obeyed": obeyed, "pins": _pins}))
