//! The roles of `sql/roles.sql`: what each may do is enough, and nothing of it is too much.

mod hostile;
mod needed;
mod roles;
mod uninstalled;

use std::path::Path;
use std::process::Command;

use crate::db::TestDb;
use crate::pipeline::harness::Pipeline;

/// Names of the roles in one test.
pub(crate) struct Roles {
    installer: String,
    reader: String,
    cleaner: String,
    applier: String,
}

impl Roles {
    /// The roles of a pipeline, which `sql/roles.sql` creates.
    fn of(pipeline: &Pipeline) -> Self {
        Self {
            installer: pipeline.source.role_to_come("installer"),
            reader: pipeline.source.role_to_come("reader"),
            cleaner: pipeline.source.role_to_come("cleaner"),
            applier: pipeline.destination.role_to_come("applier"),
        }
    }

    /// Runs `sql/roles.sql` as people do.
    fn grant(&self, db: &TestDb, side: &str) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql/roles.sql");
        let mut psql = Command::new("psql");
        psql.args(["-qX", "-v", &format!("side={side}")]).arg("-f").arg(script).arg(db.url());
        let Self { installer, reader, cleaner, applier } = self;
        for (name, role) in
            [("installer", installer), ("reader", reader), ("cleaner", cleaner), ("applier", applier)]
        {
            psql.args(["-v", &format!("{name}={role}")]);
        }
        let done = psql.output().expect("psql is in PATH");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success() && said.is_empty(), "{said}");
    }

    /// Installs capture as the installer and goes on as reader and applier.
    async fn install(&self, pipeline: &mut Pipeline) {
        self.grant(&pipeline.source, "source");
        pipeline.set("source.url", &url(&pipeline.source, &self.installer));
        let said = pipeline.fine("init").await;
        assert!(said.contains("may not create event triggers"), "{said}");
        self.grant(&pipeline.source, "source");
        self.grant(&pipeline.destination, "destination");
        pipeline.set("source.url", &url(&pipeline.source, &self.reader));
        pipeline.set("retention.url", &url(&pipeline.source, &self.cleaner));
        pipeline.set("destination.url", &url(&pipeline.destination, &self.applier));
    }
}

/// The URL of a database for a role.
fn url(db: &TestDb, role: &str) -> String {
    db.url().replacen("postgres@", &format!("{role}@"), 1)
}
