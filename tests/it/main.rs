//! Integration tests against real servers; `scripts/test.sh` starts them.

mod apply;
