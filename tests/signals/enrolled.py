"""Where each signal is held to a truth of its own: a closed form, a finite difference, or a plain loop."""

SIGNAL_TESTS = {
    "entropy": "conformance/test_signals.py",
    "normalized_entropy": "conformance/test_signals.py",
    "sink": "conformance/test_signals.py",
    "previous_token": "conformance/test_signals.py",
    "self_token": "conformance/test_signals.py",
    "distance": "conformance/test_signals.py",
    "confidence": "conformance/test_signals.py",
    "taylor": "signals/test_gates.py",
    "fisher": "signals/test_gates.py",
    "wake": "signals/test_gates.py",
    "gradient": "signals/test_weights.py",
    "magnitude": "signals/test_weights.py",
    "output_norm": "signals/test_outputs.py",
    "redundancy": "signals/test_outputs.py",
    "ablation": "signals/test_gates.py",
}
