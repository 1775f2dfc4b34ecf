"""The training loop: thin, torch only, and steered by handlers of its events (``strop.contract.loop_event``).

The loop itself is ``loop`` (epochs and batches), ``step`` (one optimizer step), ``state`` (states as data) and ``checkpoint``;
tests/test_house.py holds them and the events to 400 lines of code. The other modules are what instructions and verbs bring.
"""
