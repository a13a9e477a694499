//! Installs and re-checks capture in the source: log tables, functions, triggers, registry.
