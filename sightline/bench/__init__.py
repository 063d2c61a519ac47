"""`sightline bench`: the engine against its peers, and the stack against the engine.

The machine may be shared and its speed drift, so everything that is compared takes turns within one run, and
what counts are the ratios.
"""
