"""Distribution: the only package that knows Ray and DeepSpeed.

A module wraps the maths of the stage it is named after.
"""
