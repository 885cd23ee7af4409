//! Kubeconfigs as they are found on nodes, and such as cannot work.

use tempfile::TempDir;

use super::*;

const WITHIN: Duration = Duration::from_secs(1);

/// One with that cluster and user, its strings as YAML has them.
fn kubeconfig(cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: there\npreferences: {{}}\n\
         clusters:\n- name: other\n  cluster: {{server: 'https://other'}}\n- cluster:\n    {cluster}\n  name: here\n\
         contexts:\n- context: {{cluster: here, user: me, namespace: x}}\n  name: there\n\
         users:\n- name: me\n  user:\n    {user}\n"
    )
}

fn written(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    fs::write(&path, text).unwrap();
    (folder, path)
}

#[tokio::test]
async fn who_asks_is_told_by_token_file_password_or_program() {
    let program = r#"exec: {command: sh, apiVersion: client.authentication.k8s.io/v1, env: [{name: T, value: p}],
      args: ['-c', 'echo "{\"kind\":\"ExecCredential\",\"status\":{\"token\":\"$T\"}}"']}"#;
    for (user, expected) in [
        ("token: abc", Some("Bearer abc")),
        ("tokenFile: beside", Some("Bearer from-file")),
        ("{username: me, password: 'a:b'}", Some("Basic bWU6YTpi")),
        (program, Some("Bearer p")),
        ("{}", None),
    ] {
        let (folder, path) = written(&kubeconfig("server: https://10.0.0.1:6443", user));
        fs::write(folder.path().join("beside"), "from-file\n").unwrap();
        let (way, credentials) = read(&path, WITHIN).unwrap_or_else(|error| panic!("{user}: {error}"));
        assert_eq!(way.url, "https://10.0.0.1:6443/");
        assert!(matches!(way.trust, Trust::System) && way.identity.is_none(), "{user}");
        let header = credentials.header().await.unwrap();
        assert_eq!(header.as_ref().map(|value| value.to_str().unwrap()), expected, "{user}");
    }
}

#[tokio::test]
async fn a_program_is_asked_again_when_what_it_said_is_too_old() {
    let asked = |until: &str| {
        format!(
            r#"exec: {{command: sh, args: ['-c', 'echo x >> said; echo "{{\"status\":{{\"token\":\"$(wc -l < said)\",
      \"expirationTimestamp\":\"{until}\"}}}}"']}}"#
        )
    };
    for (until, expected) in [("2001-01-01T00:00:00Z", "Bearer 2"), ("2999-01-01T00:00:00Z", "Bearer 1")] {
        let said = tempfile::tempdir().unwrap();
        let user = asked(until).replace("said", &said.path().join("said").display().to_string());
        let (_folder, path) = written(&kubeconfig("server: https://a", &user));
        let (_, credentials) = read(&path, WITHIN).unwrap_or_else(|error| panic!("{user}: {error}"));
        assert_eq!(credentials.header().await.unwrap().unwrap(), expected);
    }
}

#[test]
fn certificates_are_in_files_beside_it_or_in_itself() {
    let (folder, path) = written(&kubeconfig(
        "{server: 'https://a', certificate-authority: pki/ca.pem, tls-server-name: b}",
        "{client-certificate-data: Y2VydA==, client-key: key.pem}",
    ));
    assert!(read(&path, WITHIN).is_err(), "there are no such files");
    fs::create_dir(folder.path().join("pki")).unwrap();
    fs::write(folder.path().join("pki/ca.pem"), "ca").unwrap();
    fs::write(folder.path().join("key.pem"), "key").unwrap();
    let (way, _) = read(&path, WITHIN).unwrap();
    let identity = way.identity.unwrap();
    assert!(matches!(&way.trust, Trust::Certificates(pem) if pem == b"ca"));
    assert_eq!((identity.certificates.as_slice(), identity.key.as_slice()), (&b"cert"[..], &b"key"[..]));
    assert_eq!(way.server_name.as_deref(), Some("b"));
    let (_folder, path) = written(&kubeconfig("{server: 'https://a', insecure-skip-tls-verify: true}", "{}"));
    assert!(matches!(read(&path, WITHIN).unwrap().0.trust, Trust::Anyone));
}

#[test]
fn what_cannot_work_is_refused_with_the_reason() {
    let good = kubeconfig("server: https://a", "token: b");
    for (text, says) in [
        (String::new(), "empty"),
        ("clusters: 5".to_owned(), "current-context"),
        ("a: [".to_owned(), ""),
        (good.replace("name: here", "name: there"), "clusters have none named here"),
        (good.replace("name: me", "name: you"), "users have none named me"),
        (good.replace("current-context: there", "current-context: elsewhere"), "contexts have none named"),
        (good.replace("server:", "serve:"), "no server"),
        (kubeconfig("{server: 'https://a', certificate-authority-data: '*'}", "{}"), "authority-data"),
        (kubeconfig("server: https://a", "auth-provider: {name: gcp}"), "auth-provider"),
        (kubeconfig("server: https://a", "exec: {args: [a]}"), "no command"),
        (kubeconfig("server: https://a", "exec: {command: /nowhere/it}"), "/nowhere/it"),
        (
            kubeconfig("server: https://a", "exec: {command: sh, args: ['-c', 'echo sorry >&2; exit 3']}"),
            "sorry",
        ),
        (kubeconfig("server: https://a", "exec: {command: 'true'}"), "true: EOF"),
    ] {
        let (_folder, path) = written(&text);
        let error = read(&path, WITHIN).err().unwrap_or_else(|| panic!("taken: {text}"));
        assert!(error.to_string().contains(says), "{error} lacks {says}: {text}");
    }
}
