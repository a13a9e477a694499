//! Sessions with PostgreSQL: what each `sslmode` accepts, client certificates, channel binding, and what is said when
//! somebody is not trusted.

use tempfile::TempDir;
use tripline::error::{Disposition, Error, chain};
use tripline::session;

use super::certificates::{Authority, Identity, write};
use super::man_in_the_middle::ManInTheMiddle;
use crate::db::{Which, run, value};
use crate::server::Server;

const ENCRYPTED: &str = "select ssl::text from pg_stat_ssl where pid = pg_backend_pid()";
const PASSWORD: &str = "pl4nted-p4ssword";

/// A server that offers TLS.
struct Secure {
    server: Server,
    authority: Authority,
    dir: TempDir,
}

impl Secure {
    fn start() -> Self {
        let authority = Authority::new();
        let dir = TempDir::new().unwrap();
        authority.write(dir.path(), "ca");
        Authority::new().write(dir.path(), "other-ca");
        let secure = Self { server: Server::start(Which::Source, ""), authority, dir };
        secure.show(&secure.authority.server("localhost"));
        secure
    }

    /// Lets the server show this certificate from now on.
    fn show(&self, identity: &Identity) {
        self.server.put("server.crt", &identity.certificate);
        self.server.put("server.key", &identity.key);
        self.server.put("ca.crt", &self.authority.pem());
        self.server.restart("ssl = on\nssl_ca_file = 'ca.crt'\npassword_encryption = 'scram-sha-256'");
    }

    fn url(&self, user: &str, host: &str, parameters: &str) -> String {
        let (port, dir) = (self.server.port(), self.dir.path().display());
        let parameters = parameters.replace("@/", &format!("{dir}/"));
        format!("postgresql://{user}@{host}:{port}/postgres?{parameters}")
    }

    /// Opens a session as `postgres`; returns whether it is encrypted, or why there is none.
    async fn open(&self, host: &str, parameters: &str) -> Result<bool, String> {
        open(&self.url("postgres", host, parameters)).await
    }
}

/// Opens a session; returns whether it is encrypted. An error is one that no waiting helps against.
async fn open(url: &str) -> Result<bool, String> {
    match session::connect("source", url, "test").await {
        Ok(client) => Ok(value(&client, ENCRYPTED).await == "true"),
        Err(error) => {
            let error = Error::Session(error);
            let text = chain(&error);
            assert_eq!(error.disposition(), Disposition::Halt, "{text}");
            assert!(!format!("{text} {error:?}").contains(PASSWORD), "{text}");
            Err(text)
        }
    }
}

fn says(result: Result<bool, String>, parts: &[&str]) {
    let text = result.expect_err("nobody should be let in");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sslmode_accepts_what_it_accepts_in_libpq() {
    let secure = Secure::start();
    let open = async |host, parameters| secure.open(host, parameters).await;
    let (full, ca) = ("sslmode=verify-full&sslrootcert=@/ca", "sslmode=verify-ca&sslrootcert=@/ca");

    for parameters in [full, ca, "sslmode=require&sslrootcert=@/ca", "sslmode=require", "connect_timeout=9"] {
        assert_eq!(open("localhost", parameters).await, Ok(true), "{parameters}");
    }
    assert_eq!(open("localhost", "sslmode=disable").await, Ok(false));

    assert_eq!(open("127.0.0.1", ca).await, Ok(true));
    says(open("127.0.0.1", full).await, &["127.0.0.1:", "for other names", "host name"]);

    for unknown in [
        "sslmode=verify-full&sslrootcert=@/other-ca",
        "sslmode=verify-ca&sslrootcert=@/other-ca",
        "sslmode=require&sslrootcert=@/other-ca",
        "sslmode=verify-full",
        "sslmode=verify-full&sslrootcert=system",
    ] {
        says(
            open("localhost", unknown).await,
            &["source PostgreSQL at localhost:", "nobody trusted", "sslrootcert"],
        );
    }
    says(
        open("localhost", "sslmode=verify-full&sslrootcert=@/none").await,
        &["sslrootcert", "/none", "cannot be read"],
    );
    write(secure.dir.path(), "empty", b"no PEM");
    says(
        open("localhost", "sslmode=verify-full&sslrootcert=@/empty").await,
        &["sslrootcert", "holds no certificate"],
    );

    secure.show(&secure.authority.expired("localhost"));
    for parameters in [full, ca] {
        says(open("localhost", parameters).await, &["has expired", "renewed"]);
    }
    assert_eq!(open("localhost", "sslmode=require").await, Ok(true));

    secure.server.restart("ssl = off");
    for parameters in [full, ca, "sslmode=require"] {
        says(open("localhost", parameters).await, &["offers no TLS", "ssl = on", "sslmode=disable"]);
    }
    assert_eq!(open("localhost", "sslmode=prefer").await, Ok(false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_prefers_tls_goes_without_where_only_that_is_allowed() {
    let secure = Secure::start();
    secure.server.put("pg_hba.conf", b"hostnossl all all 127.0.0.1/32 trust\n");
    secure.server.restart("");
    assert_eq!(secure.open("localhost", "connect_timeout=9").await, Ok(false));
    says(secure.open("localhost", "sslmode=require").await, &["pg_hba.conf"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_certificates_are_shown_and_what_is_wrong_with_them_is_said() {
    let secure = Secure::start();
    let dir = secure.dir.path();
    for (name, identity) in
        [("good", secure.authority.client("postgres")), ("somebody", secure.authority.client("somebody"))]
    {
        write(dir, &format!("{name}.crt"), &identity.certificate);
        write(dir, &format!("{name}.key"), &identity.key);
    }
    let key =
        openssl::pkey::PKey::private_key_from_pem(&std::fs::read(dir.join("good.key")).unwrap()).unwrap();
    let cipher = openssl::symm::Cipher::aes_256_cbc();
    let locked = key.private_key_to_pem_pkcs8_passphrase(cipher, PASSWORD.as_bytes()).unwrap();
    write(dir, "locked.key", &locked);
    secure.server.put("pg_hba.conf", b"hostssl all all 127.0.0.1/32 cert\n");
    secure.server.restart("");
    let full = "sslmode=verify-full&sslrootcert=@/ca";
    let open = async |more: &str| secure.open("localhost", &format!("{full}{more}")).await;

    assert_eq!(open("&sslcert=@/good.crt&sslkey=@/good.key").await, Ok(true));
    let locked = "&sslcert=@/good.crt&sslkey=@/locked.key";
    assert_eq!(open(&format!("{locked}&sslpassword={PASSWORD}")).await, Ok(true));

    says(open("").await, &["certificate"]);
    says(open("&sslcert=@/somebody.crt&sslkey=@/somebody.key").await, &["certificate authentication failed"]);
    says(open(locked).await, &["sslkey", "sslpassword"]);
    says(open(&format!("{locked}&sslpassword=not-{PASSWORD}")).await, &["sslkey", "sslpassword"]);
    says(open("&sslcert=@/good.crt&sslkey=@/somebody.key").await, &["sslkey", "does not belong", "good.crt"]);
    says(open("&sslcert=@/ca-none&sslkey=@/good.key").await, &["sslcert", "ca-none"]);
    let exposed = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(dir.join("good.key"), exposed).unwrap();
    says(open("&sslcert=@/good.crt&sslkey=@/good.key").await, &["every user", "chmod 0640", "good.key"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channel_binding_finds_a_man_in_the_middle_whom_sslmode_lets_pass() {
    let secure = Secure::start();
    run(&secure.server.connect("postgres").await, &format!("create role r login password '{PASSWORD}'"))
        .await;
    secure.server.put("pg_hba.conf", b"host all all 127.0.0.1/32 scram-sha-256\n");
    secure.server.restart("");
    let user = format!("r:{PASSWORD}");
    let full = "sslmode=verify-full&sslrootcert=@/ca";
    let direct = async |more: &str| open(&secure.url(&user, "localhost", more)).await;
    assert_eq!(direct(&format!("{full}&channel_binding=require")).await, Ok(true));
    says(direct("sslmode=disable&channel_binding=require").await, &["channel_binding=require needs TLS"]);
    let wrong = secure.url("r:wrong-pl4nted-p4ssword", "localhost", full);
    says(open(&wrong).await, &["password authentication failed"]);
    let none = secure.url("r", "localhost", full);
    says(open(&none).await, &["password missing"]);

    let server = format!("127.0.0.1:{}", secure.server.port());
    let man = ManInTheMiddle::before_postgres(&server, &Authority::new().server("localhost"));
    let through = async |parameters: &str| {
        let url = secure.url(&user, "localhost", parameters);
        open(&url.replace(&format!(":{}/", secure.server.port()), &format!(":{}/", man.port))).await
    };
    assert_eq!(through("sslmode=require&channel_binding=disable").await, Ok(true), "the man is there");
    says(through("sslmode=require&channel_binding=require").await, &["channel binding"]);
    says(through(full).await, &["nobody trusted"]);
}
