//! What each answer of an API server leads to; tests/tests/kubernetes.rs has the requests themselves.

use super::*;

fn told(status: u16, body: &str, method: &Method) -> String {
    match judge(StatusCode::from_u16(status).unwrap(), Some(Duration::from_secs(3)), body.as_bytes(), method)
    {
        Try::Done(Ok(_)) => "done".to_owned(),
        Try::Done(Err(refused)) => {
            let refused = format!("{refused:?}");
            refused.split('(').next().unwrap().to_owned()
        }
        Try::Again(_, wait) => format!("again {}", wait.map_or(0, |wait| wait.as_secs())),
    }
}

#[test]
fn every_answer_has_its_consequence() {
    let terminating = r#"{"kind":"Status","message":"events \"a\" is forbidden: unable to create new content in
        namespace shop because it is being terminated","reason":"Forbidden","code":403}"#;
    for (status, body, on_post, on_patch) in [
        (201, "{}", "done", "done"),
        (200, "{}", "done", "done"),
        (200, "<html>", "again 0", "again 0"),
        (401, "Unauthorized", "Denied", "Denied"),
        (403, r#"{"message":"events is forbidden"}"#, "Denied", "Denied"),
        (403, terminating, "Gone", "Gone"),
        (404, "{}", "Gone", "Gone"),
        (409, "{}", "AlreadyThere", "again 3"),
        (422, r#"{"message":"note: Invalid value"}"#, "Faulty", "Faulty"),
        (400, "", "Faulty", "Faulty"),
        (302, "", "Faulty", "Faulty"),
        (429, "", "again 3", "again 3"),
        (500, "", "again 3", "again 3"),
        (503, "", "again 3", "again 3"),
        (504, "", "again 3", "again 3"),
    ] {
        assert_eq!(told(status, body, &Method::POST), on_post, "POST {status} {body}");
        assert_eq!(told(status, body, &Method::PATCH), on_patch, "PATCH {status} {body}");
    }
}

#[test]
fn a_name_cannot_lead_elsewhere() {
    for (name, admitted) in [
        ("shop", true),
        ("api-0.oomwatch-0123456789abcdef", true),
        ("", false),
        ("..", false),
        ("a/b", false),
        ("a?b", false),
        ("A", false),
        ("\\x1b", false),
    ] {
        assert_eq!(is_name(name), admitted, "{name}");
    }
}

#[test]
fn pauses_differ_and_stay_in_bounds() {
    for _ in 0..100 {
        let pause = jittered(FIRST_PAUSE);
        assert!(pause >= FIRST_PAUSE / 2 && pause <= FIRST_PAUSE, "{pause:?}");
    }
}

#[tokio::test]
async fn a_login_that_needs_jsonpath_is_refused_and_others_are_not() {
    for (login, needs) in [
        ("token: t", false),
        ("auth-provider: {name: gcp, config: {access-token: t, cmd-path: gcloud}}", false),
        (
            "auth-provider: {name: gcp, config: {cmd-path: gcloud, token-key: '{.credential.access_token}'}}",
            true,
        ),
    ] {
        let yaml = format!(
            "current-context: c\nclusters: [{{name: c, cluster: {{server: 'https://10.0.0.1'}}}}]\n\
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\nusers:\n- name: u\n  user: {{{login}}}\n"
        );
        let kubeconfig = Kubeconfig::from_yaml(&yaml).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        assert_eq!(needs_jsonpath(&config), needs, "{login}");
    }
}
