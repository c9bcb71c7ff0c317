"""The run: a loop over an algorithm, and the callbacks that receive what happens in it."""
