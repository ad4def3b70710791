"""Find what is wrong with an environment, data, a checkpoint or a config.

Has to run where this package cannot be imported, and in a Python that is too old for it. So every module here
imports nothing but the standard library at its head, and the package only inside of a check.
"""
