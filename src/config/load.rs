//! Reading the file and laying the environment over it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use config::{Value, ValueKind};
use secrecy::SecretString;
use serde::{Deserialize, Deserializer};

use super::{Config, ConfigError, secret};

/// Prefix of the overriding environment variables, and what separates section and key.
const ENV_PREFIX: &str = "TRIPLINE__";
const ENV_SEPARATOR: &str = "__";
/// The group whose keys are not ours and have dots in them.
const OPTIONS: &str = "kafka.options";
/// Keys whose value is a list; commas separate its elements in the environment.
const LISTS: [&str; 1] = ["source.tables"];
/// A secret and its twin that names a file. Setting one in the environment overrides both.
const TWINS: [(&str, &str); 5] = [
    ("source.url", "source.url_file"),
    ("retention.url", "retention.url_file"),
    ("destination.url", "destination.url_file"),
    ("clickhouse.password", "clickhouse.password_file"),
    ("mask.salt", "mask.salt_file"),
];
const FILE_SUFFIX: &str = "_file";

impl Config {
    /// Finds, reads and validates the configuration; `path` is what `-c` or `TRIPLINE_CONFIG` named.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let path = match path {
            Some(path) => path.to_owned(),
            None => ["tripline.toml", "/etc/tripline/tripline.toml"]
                .map(PathBuf::from)
                .into_iter()
                .find(|path| path.exists())
                .ok_or(ConfigError::NoFile)?,
        };
        let text = read(&path)?;
        Self::load_from(&path, &text, std::env::vars_os())
    }

    /// Reads and validates the configuration out of a file's text and environment variables, of which it uses those
    /// that begin with `TRIPLINE__`. `path` is for messages.
    pub fn load_from<E, K, V>(path: &Path, text: &str, environment: E) -> Result<Self, ConfigError>
    where
        E: IntoIterator<Item = (K, V)>,
        K: Into<OsString>,
        V: Into<OsString>,
    {
        // Read once by itself, because only this reader's messages name the line.
        toml::from_str::<Self>(text).map_err(|error| ConfigError::File {
            path: path.to_owned(),
            message: file_message(text, &error),
        })?;
        let environment: Vec<(OsString, OsString)> =
            environment.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let credentials = environment.iter().find(|(name, _)| name == secret::DIRECTORY);
        let credentials = credentials.map(|(_, directory)| PathBuf::from(directory));
        let variables = Variable::all(environment.into_iter())?;
        let mut config = merge(text, &variables).map_err(|error| blame(text, &variables, &error))?;
        config.read_secret_files(credentials.as_deref())?;
        config.validate()?;
        Ok(config)
    }

    /// `credentials` is where relative paths are looked for first.
    fn read_secret_files(&mut self, credentials: Option<&Path>) -> Result<(), ConfigError> {
        let read_secret = |key, value: &mut Option<SecretString>, file: Option<&Path>| {
            let Some(path) = file else { return Ok(()) };
            if value.is_some() {
                return Err(both(key));
            }
            *value = Some(read_line(path, credentials)?.into());
            Ok(())
        };
        read_secret("source.url", &mut self.source.url, self.source.url_file.as_deref())?;
        read_secret("retention.url", &mut self.retention.url, self.retention.url_file.as_deref())?;
        if let Some(destination) = &mut self.destination {
            read_secret("destination.url", &mut destination.url, destination.url_file.as_deref())?;
        }
        if let Some(clickhouse) = &mut self.clickhouse {
            let file = clickhouse.password_file.as_deref();
            read_secret("clickhouse.password", &mut clickhouse.password, file)?;
        }
        read_secret("mask.salt", &mut self.mask.salt, self.mask.salt_file.as_deref())?;
        let options = &mut self.kafka.options;
        let twins: Vec<String> = options.keys().filter(|key| key.ends_with(FILE_SUFFIX)).cloned().collect();
        for twin in twins {
            let path = PathBuf::from(options.remove(&twin).unwrap_or_default());
            let value = read_line(&path, credentials)?;
            let key = twin.strip_suffix(FILE_SUFFIX).unwrap_or(&twin).to_owned();
            if options.insert(key, value).is_some() {
                return Err(both("kafka.options"));
            }
        }
        Ok(())
    }
}

/// An environment variable that overrides a key.
struct Variable {
    /// As it stands in the environment.
    name: String,
    /// `section.key`.
    key: String,
    value: String,
}

impl Variable {
    fn all(environment: impl Iterator<Item = (OsString, OsString)>) -> Result<Vec<Self>, ConfigError> {
        let mut variables = BTreeMap::new();
        for (name, value) in environment {
            let Ok(name) = name.into_string() else { continue };
            let Some(rest) = name.strip_prefix(ENV_PREFIX) else { continue };
            let key = rest.to_lowercase().replace(ENV_SEPARATOR, ".");
            let value = value.into_string().map_err(|_| ConfigError::Environment {
                variable: name.clone(),
                message: "its value is not UTF-8".into(),
            })?;
            variables.insert(key.clone(), Self { name, key, value });
        }
        Ok(variables.into_values().collect())
    }

    /// Returns the librdkafka property that this sets, if it is one: `SECURITY_PROTOCOL` is `security.protocol`.
    /// No property that takes a string has an underscore in its name.
    fn option(&self) -> Option<String> {
        let option = self.key.strip_prefix(OPTIONS)?.strip_prefix('.')?;
        Some(match option.strip_suffix(FILE_SUFFIX) {
            Some(secret) => secret.replace('_', ".") + FILE_SUFFIX,
            None => option.replace('_', "."),
        })
    }
}

/// Lays variables over the file. Values are strings throughout: what they stand for is the key's affair, so that a
/// password of digits stays what it is.
fn merge(text: &str, variables: &[Variable]) -> Result<Config, config::ConfigError> {
    let string = |text: &str| Value::new(None, ValueKind::String(text.to_owned()));
    let mut builder =
        config::Config::builder().add_source(config::File::from_str(text, config::FileFormat::Toml));
    let mut options = config::Map::new();
    for variable in variables {
        let Variable { key, value, .. } = variable;
        if let Some(option) = variable.option() {
            options.insert(option, string(value));
        } else if LISTS.contains(&key.as_str()) {
            let items = value.split(',').map(str::trim).filter(|item| !item.is_empty());
            builder = builder.set_override(key, items.map(string).collect::<Vec<Value>>())?;
        } else {
            builder = builder.set_override(key, string(value))?;
        }
    }
    if !options.is_empty() {
        builder = builder.set_override(OPTIONS, options)?;
    }
    let is_set = |key: &str| variables.iter().any(|variable| variable.key == key);
    for (one, other) in TWINS.iter().flat_map(|(secret, file)| [(secret, file), (file, secret)]) {
        if is_set(one) && !is_set(other) {
            builder = builder.set_override(*other, ValueKind::Nil)?;
        }
    }
    builder.build()?.try_deserialize()
}

/// Names the variable that the file cannot be merged with.
fn blame(text: &str, variables: &[Variable], error: &config::ConfigError) -> ConfigError {
    let culprit = variables.iter().find_map(|variable| {
        let alone =
            Variable { name: String::new(), key: variable.key.clone(), value: variable.value.clone() };
        merge(text, &[alone]).err().map(|error| (variable.name.clone(), error.to_string()))
    });
    let (variable, message) = culprit.unwrap_or_else(|| (format!("{ENV_PREFIX}…"), error.to_string()));
    ConfigError::Environment { variable, message: without_value(&message) }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })
}

/// Reads a secret without the line feed that editors put behind it.
fn read_line(path: &Path, credentials: Option<&Path>) -> Result<String, ConfigError> {
    let text = secret::read(&secret::locate(path, credentials))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

fn both(key: &'static str) -> ConfigError {
    ConfigError::Invalid { key, why: format!("set it or its twin that ends in {FILE_SUFFIX}, not both") }
}

/// Says line and cause without echoing the line, which may hold a password.
fn file_message(text: &str, error: &toml::de::Error) -> String {
    let message = without_value(error.message());
    match error.span() {
        Some(span) => {
            let line = text[..span.start].matches('\n').count() + 1;
            format!("line {line}: {message}")
        }
        None => message,
    }
}

/// Takes the value out of serde's "invalid type: string "…", expected …": it may be a password in the wrong place.
fn without_value(message: &str) -> String {
    let (Some(value), Some(expected)) = (message.find(['"', '`']), message.rfind(", expected ")) else {
        return message.to_owned();
    };
    if !message.starts_with("invalid ") || value > expected {
        return message.to_owned();
    }
    format!("{}{}", message[..value].trim_end(), &message[expected..])
}

/// Reads `[kafka.options]`: numbers and booleans become text, and `security.protocol` may stand without quotes,
/// which TOML takes for a table in a table.
pub(super) fn options<'de, D: Deserializer<'de>>(input: D) -> Result<BTreeMap<String, String>, D::Error> {
    let mut flat = BTreeMap::new();
    for (key, property) in BTreeMap::<String, Property>::deserialize(input)? {
        property.flatten(key, &mut flat);
    }
    Ok(flat)
}

/// A value in `[kafka.options]`.
#[derive(Deserialize)]
#[serde(untagged, expecting = "invalid type: expected a string, a number or a boolean")]
enum Property {
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    Nested(BTreeMap<String, Property>),
}

impl Property {
    fn flatten(self, key: String, into: &mut BTreeMap<String, String>) {
        let text = match self {
            Self::Nested(properties) => {
                for (name, property) in properties {
                    property.flatten(format!("{key}.{name}"), into);
                }
                return;
            }
            Self::Boolean(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::Text(value) => value,
        };
        into.insert(key, text);
    }
}

/// Prints the names of properties without their values, which may be passwords.
pub(super) struct Names<'a>(pub(super) &'a BTreeMap<String, String>);

impl fmt::Debug for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
