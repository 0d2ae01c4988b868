# `make up` runs the gateway, `make test` tests it; each installs what it needs into this folder (.venv, .tools).
.DEFAULT_GOAL := help
.PHONY: help setup up test test-full lint format protos golden schema reference docs lock bench load load-k6 soak audit clean kind-test images

python := .venv/bin/python
load_flags = $(if $(USERS),--users $(USERS)) $(if $(DURATION),--duration $(DURATION))

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## installs everything into .venv and .tools (no root needed)
	@scripts/setup.sh

up: ## runs the gateway of envoy/gateway.yaml with demo upstreams until Ctrl-C
	@scripts/setup.sh run
	@exec .venv/bin/gatewayctl up -c envoy/gateway.yaml

test: setup ## every test that needs no cluster, with real Envoy and real Redis
	@env -u KUBECONFIG $(python) -m pytest -n auto --dist loadgroup

test-full: ## the same, the long forms (hundreds of edits under load), Prometheus itself, the page in Chromium
	@scripts/setup.sh full
	@env -u KUBECONFIG $(python) -m pytest -n auto --dist loadgroup -m "long or not long"

lint: setup ## formatting, style, types, import rules, spelling, freshness of generated files
	@scripts/lint.sh

format: setup ## formats the code
	@.venv/bin/ruff format . && .venv/bin/ruff check --fix .

protos: setup ## generates code from protos/
	@scripts/generate_protos.sh

golden: setup ## rewrites the expected files of tests/golden
	@$(python) -m tests.golden.update
	@$(python) -m tests.kubernetes.manifests

schema: setup ## rewrites docs/reference/gateway.schema.json and fields.md
	@$(python) -m scripts.generate_schema
	@$(python) -m scripts.fields_reference

reference: setup ## rewrites docs/reference/metrics.md and commands.md, and the flags in docs/operations/deployment.md
	@$(python) -m scripts.metrics_reference
	@$(python) -m scripts.commands_reference
	@$(python) -m scripts.variables_reference

docs: setup ## the documents as a site in build/site; a link that leads nowhere fails
	@scripts/setup.sh docs
	@NO_MKDOCS_2_WARNING=1 .tools/docs/bin/mkdocs build
	@$(python) -m scripts.site_check build/site
	@echo "build/site/index.html"

lock: setup ## pins the dependencies of pyproject.toml again
	@scripts/lock.sh

bench: setup ## measures, and writes docs/performance/
	@$(python) -m tests.performance.bench
	@$(python) -m tests.performance.authz_bench
	@$(python) -m tests.performance.ext_proc_bench
	@$(python) -m tests.performance.kubernetes_bench
	@$(python) -m tests.performance.analytics_bench
	@$(python) -m tests.performance.tracing_bench
	@$(python) -m tests.performance.transform_bench
	@$(python) -m tests.performance.xds_bench
	@$(python) -m tests.performance.status_page_bench

load: ## load of a mixed crowd (Locust) on GATEWAY_URL or a gateway of its own; USERS=40 DURATION=60s; report in build/load
	@scripts/setup.sh load
	@$(python) -m tests.performance.load_test locust $(load_flags)

load-k6: ## the same by a crowd that reads what is cached (k6)
	@scripts/setup.sh load
	@$(python) -m tests.performance.load_test k6 $(load_flags)

soak: ## half an hour of load and faults; DURATION=30m; errors, memory and descriptors in build/soak
	@scripts/setup.sh load
	@$(python) -m tests.performance.soak $(load_flags)

audit: setup ## code, dependencies, secrets, licences; bill of materials in build/audit (AUDIT_FLAGS=--strict: all has to run)
	@scripts/setup.sh audit
	@$(python) -m scripts.audit $(AUDIT_FLAGS)

images: ## the container images, one per process (needs docker)
	@for target in control-plane ext-authz ext-proc envoy; do \
		docker build --target $$target --tag meetinity-gateway:$$target . || exit 1; done

kind-test: setup ## runs tests/kubernetes against a kind cluster made for it (needs docker and kind)
	@scripts/kind_test.sh

clean: ## removes what was installed and generated
	rm -rf .venv .tools .gateway typings build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
