//! A database of its own for each test.

use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// Which server a database is made on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Which {
    /// `TRIPLINE_TEST_SOURCE_URL`.
    Source,
    /// `TRIPLINE_TEST_DESTINATION_URL`.
    Destination,
}

impl Which {
    /// Returns the URL of the server that all tests share.
    pub(crate) fn admin_url(self) -> String {
        let (name, default) = match self {
            Self::Source => ("TRIPLINE_TEST_SOURCE_URL", "postgresql://postgres@127.0.0.1:5435/postgres"),
            Self::Destination => {
                ("TRIPLINE_TEST_DESTINATION_URL", "postgresql://postgres@127.0.0.1:5436/postgres")
            }
        };
        std::env::var(name).unwrap_or_else(|_| default.to_owned())
    }
}

/// A database named `tl_<random>`, dropped with everybody in it when this goes.
#[derive(Debug)]
pub(crate) struct TestDb {
    admin_url: String,
    admin: tokio_postgres::Config,
    config: tokio_postgres::Config,
    /// Its name.
    pub(crate) name: String,
    roles: std::sync::Mutex<Vec<String>>,
}

async fn open(config: &tokio_postgres::Config) -> Client {
    let (client, connection) = config
        .connect(NoTls)
        .await
        .unwrap_or_else(|error| panic!("no test server: {error:?}; scripts/test.sh starts the services"));
    tokio::spawn(connection);
    client
}

impl TestDb {
    /// Creates a database; fails clearly when the server is not there.
    pub(crate) async fn create(which: Which) -> Self {
        Self::create_at(which.admin_url()).await
    }

    /// Creates a database at a server, which is given by the URL of its database `postgres`.
    pub(crate) async fn create_at(admin_url: String) -> Self {
        let admin: tokio_postgres::Config = admin_url.parse().expect("the test url is a connection string");
        let name = format!("tl_{:016x}", rand::random::<u64>());
        open(&admin).await.batch_execute(&format!("create database {name}")).await.unwrap();
        let mut config = admin.clone();
        // A trigger that calls itself for ever is a failure, not a hanging test.
        config.dbname(&name).options("-c statement_timeout=60s");
        Self { admin_url, admin, config, name, roles: std::sync::Mutex::default() }
    }

    /// Returns its URL, for a configuration.
    pub(crate) fn url(&self) -> String {
        let (server, _) = self.admin_url.rsplit_once('/').expect("the test url names a database");
        format!("{server}/{}", self.name)
    }

    /// Opens another session.
    pub(crate) async fn connect(&self) -> Client {
        open(&self.config).await
    }

    /// Creates a login role without any privilege, dropped with the database.
    pub(crate) async fn role(&self, what: &str) -> String {
        let role = format!("{}_{what}", self.name);
        open(&self.admin).await.batch_execute(&format!("create role {role} login")).await.unwrap();
        self.roles.lock().unwrap().push(role.clone());
        role
    }

    /// Returns the name of a role that somebody else creates, dropped with the database.
    pub(crate) fn role_to_come(&self, what: &str) -> String {
        let role = format!("{}_{what}", self.name);
        self.roles.lock().unwrap().push(role.clone());
        role
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        let admin = self.admin.clone();
        let mut statements = vec![format!("drop database {} with (force)", self.name)];
        statements.extend(self.roles.lock().unwrap().iter().map(|role| format!("drop role {role}")));
        // A runtime of its own: the test's may be unwinding, and cannot be waited for from inside.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let client = open(&admin).await;
                for statement in statements {
                    client.batch_execute(&statement).await.unwrap();
                }
            });
        })
        .join();
        if dropped.is_err() && !std::thread::panicking() {
            panic!("{} was not dropped", self.name);
        }
    }
}

/// Returns all rows of a query as text; SQL NULL as `∅`.
pub(crate) async fn rows(client: &Client, sql: &str) -> Vec<Vec<String>> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}\n{error:?}"));
    messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|i| row.get(i).unwrap_or("∅").to_owned()).collect())
            }
            _ => None,
        })
        .collect()
}

/// Returns the one value of a query as text.
pub(crate) async fn value(client: &Client, sql: &str) -> String {
    rows(client, sql).await.swap_remove(0).swap_remove(0)
}

/// Takes the event triggers away: nothing follows DDL by itself, as where the owner of capture may not create any. `init`
/// creates them again.
pub(crate) const UNWATCHED: &str = "drop event trigger if exists \"00_tripline_cdc_ddl\"; drop event trigger if exists \"00_tripline_cdc_drop\"";

/// Runs statements.
pub(crate) async fn run(client: &Client, sql: &str) {
    client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}\n{error:?}"));
}
