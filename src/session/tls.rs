//! libpq's parameters for TLS that tokio-postgres does not know: they are taken out of the URL.

use std::path::{Path, PathBuf};

use openssl::pkey::PKey;
use openssl::ssl::{SslConnectorBuilder, SslVerifyMode};
use percent_encoding::percent_decode_str;
use postgres_openssl::MakeTlsConnector;
use secrecy::{ExposeSecret, SecretString};

use crate::config::secret;
use crate::tls::{self, Refusal, TlsError};

/// What of a server's certificate is checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Check {
    #[default]
    Nothing,
    Chain,
    ChainAndHost,
}

/// What a URL says about TLS beside `sslmode=disable`, `prefer` and `require`.
#[derive(Debug, Default)]
pub(super) struct Settings {
    check: Check,
    /// `None`: the system's.
    roots: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    passphrase: Option<SecretString>,
}

fn unusable(key: &'static str, why: &str) -> TlsError {
    TlsError::Unusable { key, why: why.to_owned() }
}

impl Settings {
    /// Takes them out of a URL; returns what is left for tokio-postgres. A string of the other form,
    /// `host=… user=…`, is left as it is.
    pub(super) fn take(url: &str) -> Result<(String, Self), TlsError> {
        let mut settings = Self::default();
        let is_url = ["postgresql://", "postgres://"].iter().any(|scheme| url.starts_with(scheme));
        // Before the host a question mark belongs to the password.
        let host = url.find('@').unwrap_or(0);
        let Some(query) = url[host..].find('?').filter(|_| is_url) else {
            return Ok((url.to_owned(), settings));
        };
        let (base, query) = url.split_at(host + query);
        let (mut mode, mut roots) = (None, None);
        let mut rest = Vec::new();
        for parameter in query[1..].split('&') {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
            match name {
                "sslmode" => mode = Some(value),
                "sslrootcert" => roots = Some(value),
                "sslcert" => settings.certificate = Some(value.into()),
                "sslkey" => settings.key = Some(value.into()),
                "sslpassword" => settings.passphrase = Some(value.into()),
                _ => rest.push(parameter.to_owned()),
            }
        }
        let mode = settings.checked(mode.as_deref().unwrap_or("prefer"), roots)?;
        if settings.certificate.is_some() != settings.key.is_some() {
            return Err(unusable("sslcert, sslkey", "name both or neither"));
        }
        rest.push(format!("sslmode={mode}"));
        Ok((format!("{base}?{}", rest.join("&")), settings))
    }

    /// Decides what is checked; returns the mode for tokio-postgres.
    fn checked(&mut self, mode: &str, roots: Option<String>) -> Result<&'static str, TlsError> {
        let (check, passed) = match mode {
            "disable" => (Check::Nothing, "disable"),
            "prefer" => (Check::Nothing, "prefer"),
            // As libpq does: who names an authority wants it checked.
            "require" if roots.is_some() => (Check::Chain, "require"),
            "require" => (Check::Nothing, "require"),
            "verify-ca" => (Check::Chain, "require"),
            "verify-full" => (Check::ChainAndHost, "require"),
            _ => return Err(unusable("sslmode", "give disable, prefer, require, verify-ca or verify-full")),
        };
        self.check = check;
        match roots.as_deref() {
            None => {}
            Some(_) if check == Check::Nothing => {
                return Err(unusable(
                    "sslrootcert",
                    "is not looked at without sslmode=verify-full; write that too",
                ));
            }
            Some("system") if check == Check::ChainAndHost => {}
            Some("system") => return Err(unusable("sslrootcert", "system needs sslmode=verify-full")),
            Some(path) => self.roots = Some(path.into()),
        }
        Ok(passed)
    }

    /// Makes what opens connections; what is found wrong with a server's certificate goes into `refusal`.
    pub(super) fn connector(&self, refusal: &Refusal) -> Result<MakeTlsConnector, TlsError> {
        let mut builder = tls::builder("sslrootcert", self.roots.as_deref(), refusal)?;
        if self.check == Check::Nothing {
            builder.set_verify(SslVerifyMode::NONE);
        }
        if let (Some(certificate), Some(key)) = (&self.certificate, &self.key) {
            self.identify(&mut builder, certificate, key)?;
        }
        postgres_openssl::set_postgresql_alpn(&mut builder)?;
        let mut connector = MakeTlsConnector::new(builder.build());
        if self.check == Check::Chain {
            connector.set_callback(|connection, _| {
                connection.set_verify_hostname(false);
                Ok(())
            });
        }
        Ok(connector)
    }

    /// Shows a certificate to the server.
    fn identify(
        &self,
        builder: &mut SslConnectorBuilder,
        certificate: &Path,
        key: &Path,
    ) -> Result<(), TlsError> {
        builder.set_certificate_chain_file(certificate).map_err(|error| {
            unusable("sslcert", &format!("{} is no certificate in PEM: {error}", certificate.display()))
        })?;
        let path = secret::locate(key, secret::directory().as_deref());
        let pem = secret::read(&path)?;
        let passphrase = self.passphrase.as_ref().map_or("", ExposeSecret::expose_secret);
        // Without a passphrase OpenSSL would ask for it at the terminal.
        let parsed = PKey::private_key_from_pem_passphrase(pem.as_bytes(), passphrase.as_bytes());
        let private = parsed.map_err(|_| {
            unusable("sslkey", &format!("{} is no private key in PEM that sslpassword opens", path.display()))
        })?;
        builder.set_private_key(&private).map_err(|_| {
            unusable(
                "sslkey",
                &format!("{} does not belong to the certificate {}", path.display(), certificate.display()),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(url: &str) -> (String, Check, Option<PathBuf>) {
        let (rest, settings) = Settings::take(url).unwrap();
        (rest, settings.check, settings.roots)
    }

    #[test]
    fn parameters_of_tls_are_taken_out_and_the_others_stay() {
        let url = "postgresql://u:p?w@h:1/d?sslmode=verify-full&connect_timeout=3&sslrootcert=%2Fca%20x.pem";
        let rest = "postgresql://u:p?w@h:1/d?connect_timeout=3&sslmode=require";
        assert_eq!(take(url), (rest.into(), Check::ChainAndHost, Some("/ca x.pem".into())));
        assert!(rest.parse::<tokio_postgres::Config>().is_ok());
        for same in ["postgresql://u:p?w@h:1/d", "host=h sslmode=require"] {
            assert_eq!(take(same), (same.into(), Check::Nothing, None));
        }
    }

    #[test]
    fn modes_check_what_they_check_in_libpq() {
        for (parameters, mode, check) in [
            ("connect_timeout=1", "prefer", Check::Nothing),
            ("sslmode=disable", "disable", Check::Nothing),
            ("sslmode=require", "require", Check::Nothing),
            ("sslmode=require&sslrootcert=/ca", "require", Check::Chain),
            ("sslmode=verify-ca", "require", Check::Chain),
            ("sslmode=verify-full&sslrootcert=system", "require", Check::ChainAndHost),
        ] {
            let (rest, found, _) = take(&format!("postgres://h/d?{parameters}"));
            assert!(
                found == check && rest.ends_with(&format!("sslmode={mode}")),
                "{parameters}: {rest} {found:?}"
            );
        }
    }

    #[test]
    fn what_would_be_weaker_than_it_looks_is_refused() {
        for (parameters, says) in [
            ("sslmode=allow", "sslmode: give disable"),
            ("sslrootcert=/ca", "write that too"),
            ("sslmode=disable&sslrootcert=/ca", "write that too"),
            ("sslmode=require&sslrootcert=system", "verify-full"),
            ("sslmode=require&sslcert=/c", "both"),
        ] {
            let error = Settings::take(&format!("postgres://h/d?{parameters}")).unwrap_err().to_string();
            assert!(error.contains(says), "{parameters}: {error}");
        }
    }
}
