"""The status page in a real Chromium. Part of `make test-full`; runs where Chromium and Playwright are there."""
