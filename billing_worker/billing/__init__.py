"""The rules of billing: pure decisions over plain values. No await, no clock, no randomness, standard library only."""
