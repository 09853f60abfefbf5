"""Judges: the prompt, the verdict, model names, and the heuristic judge.

judge        gives verdicts: a model of a provider, or the built-in heuristics
question     one metric on one piece of evidence
verdict      a judge's answer: a label or checks, cited steps, or that it can't decide
fingerprint  identifies how a score was made; only equal fingerprints are comparable
"""
