//! Short programs to copy from, each with its tests.
//!
//! | file | what |
//! | --- | --- |
//! | `transaction.rs` | a transaction, with sqlx and with tokio-postgres |
//! | `layer.rs` | a context around each request of an axum router |
//! | `body_scope.rs` | the same, until the body of the answer has been sent |
//! | `streaming.rs` | a streaming answer of axum from a cursor in a transaction |
//! | `extractor.rs` | a transaction as an axum extractor; the client hangs up |
//! | `tower_service.rs` | a context around each call of a `tower` service |
//! | `fixtures.rs` | contexts as fixtures of rstest and test-context |
//! | `shared_fixture.rs` | a server that all tests of a program share, closed at its end |
//! | `error_types.rs` | with eyre, thiserror and `Box<dyn Error>` |
//! | `advisory_lock.rs` | an advisory lock of Postgres |
//! | `temporary_directory.rs` | a directory that goes with its body |
//! | `session.rs` | a session, as over a WebSocket, with a farewell message |
//! | `savepoint.rs` | a savepoint in a transaction |
//! | `retry.rs` | a transaction that is tried again, also when its COMMIT fails |
//! | `saga.rs` | steps at several services, which are undone unless all succeed |
//! | `journal.rs` | what a process has left that was killed, undone by the next one |
//! | `test_fixture.rs` | a database for a test, kept when it fails |
//! | `open_telemetry.rs` | an exit in the background, in the trace of its request |
//! | `prometheus.rs` | a page that Prometheus scrapes, and one with what is open now |
//!
//! ```sh
//! cargo test -p examples --test recipes --test shared_fixture
//! ```

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "what does not work fails the test")]

mod advisory_lock;
mod body_scope;
mod error_types;
mod extractor;
mod fixtures;
mod journal;
mod layer;
mod open_telemetry;
#[path = "../tests/polls/mod.rs"]
mod polls;
mod prometheus;
mod retry;
mod saga;
mod savepoint;
mod session;
mod streaming;
mod temporary_directory;
mod test_fixture;
mod tower_service;
mod transaction;
