"""Targets that QEMU emulates: microcontrollers and Linux boards.

A model is compiled to C, linked with a small program that serves it (``runner.c``), and run on the
emulated core. Instructions, memory and outputs are those of the real program; time is not.
"""
