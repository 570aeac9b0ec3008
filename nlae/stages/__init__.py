"""One thin file per goal and service: build objects from the context, call the parts below, return flat numbers.

Heavy imports stand inside `run`, because the pipeline reads every stage's `VERSION` before it knows whether any must
run.
"""
