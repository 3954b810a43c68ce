"""In: nothing but the machine. Out: what it is, the device and dtype to compute on, a matrix product that does not crash.

`host` and `limits` live here and never meet torch; `devices`, `arithmetic` and `survey` do.
"""
