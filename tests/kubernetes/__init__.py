"""Tests against a Kubernetes API: a real cluster if KUBECONFIG names one, else the double in api_server.py."""
