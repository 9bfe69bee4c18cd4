# Everything that is done with this repository. Needs a Rust toolchain; PostgreSQL's programs, promtool, npm and
# Chromium are installed if missing.

.PHONY: demo test fuzz chaos bench check sqlx openapi man screenshots fmt

# A build reads the committed .sqlx, whatever database the surroundings name.
export SQLX_OFFLINE := true

# A private Postgres, stand-ins for APNs and FCM over real TLS and HTTP/2, the service; sends, and shows a table.
demo:
	@scripts/ensure-postgres
	cargo run --quiet -- demo --once

# All tests.
test:
	@scripts/ensure-postgres --tests
	@scripts/ensure-promtool
	@scripts/ensure-mandoc
	@scripts/ensure-chromium
	@scripts/ensure-npm
	cargo test --workspace

# Thousands of generated requests to a running service, each answer compared with its /openapi.json. Needs Python 3.10.
# SEED=n: other requests; EXAMPLES=n: more or fewer.
fuzz:
	scripts/fuzz

# Faults for minutes: nodes killed, Postgres restarted, receivers that fail. ROUNDS=n: more or fewer of them.
chaos:
	@scripts/ensure-postgres --tests
	$(if $(ROUNDS),CHAOS_ROUNDS=$(ROUNDS)) cargo test --test it chaos:: -- --ignored --nocapture

# How fast it is on this machine, beside what the machine allows. QUICK=1: within three minutes, after building;
# ONLY=row,row: some rows.
bench:
	@scripts/ensure-postgres
	cargo bench --bench whole -- $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY))

# What must hold before a commit, besides the tests.
check:
	@scripts/ensure-postgres
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items
	scripts/sqlx-prepare --check
	scripts/openapi --check
	scripts/ensure-promtool
	promtool check config deploy/prometheus/prometheus.yml
	promtool check rules deploy/prometheus/alerts.yml
	promtool test rules deploy/prometheus/alerts_test.yml
	scripts/check-deploy
	scripts/man --check
	scripts/check-dashboard

# Writes .sqlx anew, after a statement in src/store or a migration has changed.
sqlx:
	@scripts/ensure-postgres
	scripts/sqlx-prepare

# Writes docs/openapi.json and docs/api_fields.md anew, after a route, a request or an answer has changed.
openapi:
	scripts/openapi

# Writes docs/man anew, after what a command says of itself has changed.
man:
	scripts/man

# Writes the pictures of the dashboard in docs/images anew.
screenshots:
	scripts/screenshots

# Formats the sources.
fmt:
	cargo fmt
