"""The training loop: thin, torch only, and steered by handlers of its events (``strop.contract.loop_event``)."""
