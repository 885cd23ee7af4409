//! A kubeconfig: where the API server is, whom to trust there, and who asks. As `kubectl` reads it
//! (k8s.io/client-go tools/clientcmd/api/v1 types.go), of its present context.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use http::HeaderValue;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use tokio::{sync::Mutex, task::spawn_blocking};
use yaml_rust2::{Yaml, YamlLoader};

use super::{
    client::{Failed, Identity, Trust, Way},
    token::{bearer, bearer_of},
};

/// Who asks, where a certificate does not say so.
pub(super) enum Credentials {
    /// Nobody.
    None,
    /// The same each time.
    Fixed(HeaderValue),
    /// What is in this file then.
    File(PathBuf),
    /// Whatever a program says, until that is too old.
    Program(Program),
}

impl Credentials {
    /// What stands under `Authorization`.
    ///
    /// # Errors
    /// The file or the program gives none.
    pub(super) async fn header(&self) -> Result<Option<HeaderValue>, String> {
        match self {
            Self::None => Ok(None),
            Self::Fixed(value) => Ok(Some(value.clone())),
            Self::File(token) => {
                bearer(token).map(Some).map_err(|error| format!("{}: {error}", token.display()))
            }
            Self::Program(program) => program.header().await.map_err(|error| error.to_string()),
        }
    }
}

/// A program that gives a token (`k8s.io/client-go` pkg/apis/clientauthentication).
pub(super) struct Program {
    command: Vec<String>,
    environment: Vec<(String, String)>,
    /// The API group and version in which it is spoken to.
    version: String,
    said: Mutex<Said>,
}

/// What it said last.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Said {
    token: Option<String>,
    expiration_timestamp: Option<Timestamp>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    status: Said,
}

impl Program {
    fn of(exec: &Yaml) -> Result<Self, Failed> {
        let words = |list: &Yaml| -> Vec<String> {
            list.as_vec().into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect()
        };
        let mut command = vec![text(exec, "command").ok_or("exec has no command")?];
        command.extend(words(&exec["args"]));
        let environment = exec["env"].as_vec().into_iter().flatten();
        let environment = environment.filter_map(|entry| text(entry, "name").zip(text(entry, "value")));
        let version =
            text(exec, "apiVersion").unwrap_or_else(|| "client.authentication.k8s.io/v1".to_owned());
        Ok(Self { command, environment: environment.collect(), version, said: Mutex::default() })
    }

    fn run(command: &[String], environment: &[(String, String)], version: &str) -> Result<Said, Failed> {
        let (program, args) = command.split_first().ok_or("exec has no command")?;
        let asked =
            json!({ "apiVersion": version, "kind": "ExecCredential", "spec": { "interactive": false } });
        let run = Command::new(program)
            .args(args)
            .envs(environment.iter().cloned())
            .env("KUBERNETES_EXEC_INFO", asked.to_string())
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{program}: {error}"))?;
        if !run.status.success() {
            let why = String::from_utf8_lossy(&run.stderr);
            return Err(format!("{program} ended with {}: {}", run.status, why.trim()).into());
        }
        let answer: Answer =
            serde_json::from_slice(&run.stdout).map_err(|error| format!("{program}: {error}"))?;
        Ok(answer.status)
    }

    async fn header(&self) -> Result<Option<HeaderValue>, Failed> {
        let mut said = self.said.lock().await;
        if said.expiration_timestamp.is_some_and(|until| until <= Timestamp::now()) {
            let (command, environment) = (self.command.clone(), self.environment.clone());
            let version = self.version.clone();
            *said = spawn_blocking(move || Self::run(&command, &environment, &version)).await??;
        }
        Ok(said.token.as_deref().map(bearer_of).transpose()?)
    }
}

/// Reads one; runs the program that it names, if any.
///
/// # Errors
/// It cannot be read, lacks something, or has what is not known here.
pub(super) fn read(path: &Path, connect_within: Duration) -> Result<(Way, Credentials), Failed> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let documents = YamlLoader::load_from_str(&fs::read_to_string(path)?)?;
    let config = documents.first().ok_or("it is empty")?;
    let context = text(config, "current-context").ok_or("it has no current-context")?;
    let context = named(config, "contexts", &context, "context")?;
    let cluster = text(context, "cluster").ok_or("its context has no cluster")?;
    let cluster = named(config, "clusters", &cluster, "cluster")?;
    let nobody = Yaml::Null;
    let user = match text(context, "user") {
        Some(user) => named(config, "users", &user, "user")?,
        None => &nobody,
    };
    if !user["auth-provider"].is_badvalue() {
        return Err(
            "auth-provider is not supported, nor by Kubernetes since 1.26: use exec or a token".into()
        );
    }
    let url = text(cluster, "server").ok_or("its cluster has no server")?.parse()?;
    let ca = content(cluster, "certificate-authority", folder)?;
    let trust = match ca {
        _ if cluster["insecure-skip-tls-verify"].as_bool() == Some(true) => Trust::Anyone,
        Some(pem) => Trust::Certificates(pem),
        None => Trust::System,
    };
    let certificates = content(user, "client-certificate", folder)?;
    let mut identity = certificates.zip(content(user, "client-key", folder)?);
    let credentials = if !user["exec"].is_badvalue() {
        let mut program = Program::of(&user["exec"])?;
        let said = Program::run(&program.command, &program.environment, &program.version)?;
        let own = said.client_certificate_data.clone().zip(said.client_key_data.clone());
        identity = own.map(|(certificates, key)| (certificates.into(), key.into())).or(identity);
        *program.said.get_mut() = said;
        Credentials::Program(program)
    } else if let Some(file) = text(user, "tokenFile") {
        Credentials::File(folder.join(file))
    } else if let Some(token) = text(user, "token") {
        Credentials::Fixed(bearer_of(&token)?)
    } else if let Some((name, password)) = text(user, "username").zip(text(user, "password")) {
        let basic = format!("Basic {}", BASE64.encode(format!("{name}:{password}")));
        let mut basic = HeaderValue::from_str(&basic)?;
        basic.set_sensitive(true);
        Credentials::Fixed(basic)
    } else {
        Credentials::None
    };
    let way = Way {
        url,
        trust,
        server_name: text(cluster, "tls-server-name"),
        identity: identity.map(|(certificates, key)| Identity { certificates, key }),
        connect_within,
    };
    Ok((way, credentials))
}

/// What lies under `kind` in the entry of a list that has that name.
fn named<'a>(config: &'a Yaml, list: &str, name: &str, kind: &str) -> Result<&'a Yaml, Failed> {
    let mut entries = config[list].as_vec().into_iter().flatten();
    let entry = entries.find(|entry| entry["name"].as_str() == Some(name));
    Ok(entry.map(|entry| &entry[kind]).ok_or_else(|| format!("its {list} have none named {name}"))?)
}

fn text(of: &Yaml, key: &str) -> Option<String> {
    of[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// What stands under `key-data`, or in the file that `key` names, from the kubeconfig's own folder.
fn content(of: &Yaml, key: &str, folder: &Path) -> Result<Option<Vec<u8>>, Failed> {
    if let Some(data) = text(of, &format!("{key}-data")) {
        let decoded = BASE64.decode(data.trim()).map_err(|error| format!("{key}-data: {error}"))?;
        return Ok(Some(decoded));
    }
    let Some(file) = text(of, key).map(|file| folder.join(file)) else { return Ok(None) };
    Ok(Some(fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?))
}

#[cfg(test)]
mod tests;
