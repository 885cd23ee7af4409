//! YAML as people write it, and what is none.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{from_multiple, from_slice, from_str};

fn value(text: &str) -> Value {
    from_str(text).unwrap()
}

fn wrong<T: serde::de::DeserializeOwned + std::fmt::Debug>(text: &str) -> String {
    from_str::<T>(text).unwrap_err().to_string()
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
struct User {
    name: String,
    token: Option<String>,
    #[serde(default)]
    is_admin: bool,
    #[serde(default)]
    shell: Option<Shell>,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

#[derive(Debug, Deserialize, PartialEq)]
enum Shell {
    Sh,
    Other(String),
}

#[test]
fn scalars_are_what_yaml_1_2_says() {
    for (text, expected) in [
        ("", json!(null)),
        ("~", json!(null)),
        ("null", json!(null)),
        ("True", json!(true)),
        ("yes", json!("yes")),
        ("12", json!(12)),
        ("+12", json!(12)),
        ("-12", json!(-12)),
        ("0x1F", json!(31)),
        ("0o17", json!(15)),
        ("0x+1", json!("0x+1")),
        ("18446744073709551615", json!(u64::MAX)),
        ("1.5", json!(1.5)),
        ("1e3", json!(1000.0)),
        (".5", json!(0.5)),
        ("1.2.3.4", json!("1.2.3.4")),
        ("2026-11-29", json!("2026-11-29")),
        ("inf", json!("inf")),
        ("-", json!([null])),
        ("e", json!("e")),
        ("'12'", json!("12")),
        ("\"a\\tb\"", json!("a\tb")),
        ("!!str 12", json!("12")),
        ("|\n  a\n  b\n", json!("a\nb\n")),
        (">-\n  a\n  b\n", json!("a b")),
        ("\u{feff}a", json!("a")),
    ] {
        assert_eq!(value(text), expected, "{text:?}");
    }
}

#[test]
fn trees_are_read_in_both_notations() {
    let block = "a: 1\nb:\n  - x\n  - {c: d, e: }\n# a remark\n'f g': [h, {}]\n";
    let expected = json!({ "a": 1, "b": ["x", { "c": "d", "e": null }], "f g": ["h", {}] });
    assert_eq!(value(block), expected);
    assert_eq!(value(&expected.to_string()), expected, "JSON is YAML");
    assert_eq!(from_slice::<Value>(block.as_bytes()).unwrap(), expected);
    assert!(from_slice::<Value>(b"\xff").is_err());
}

#[test]
fn aliases_and_merges_stand_for_what_they_name() {
    let text =
        "base: &b {a: 1, c: 2}\nother: *b\nboth: {<<: *b, a: 3}\nall: {<<: [*b, {d: 4, a: 5}]}\n'<<': 6\n";
    let base = json!({ "a": 1, "c": 2 });
    let all = json!({ "a": 1, "c": 2, "d": 4 });
    let expected = json!({ "base": base, "other": base, "both": { "a": 3, "c": 2 }, "all": all, "<<": 6 });
    assert_eq!(value(text), expected);
    assert!(wrong::<Value>("<<: 5").contains("maps alone"));
    assert!(wrong::<Value>("a: &a [*a]").contains("within"));
    assert!(from_str::<Value>("a: *b").is_err());
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let level = |level: usize| {
        let below = level.checked_sub(1).map_or("x".to_owned(), |below| format!("*a{below}"));
        format!("a{level}: &a{level} [{}]\n", vec![below; 10].join(", "))
    };
    let text: String = (0..12).map(level).collect();
    assert!(wrong::<Value>(&text).contains("too many values"));
    assert!(from_str::<Value>(&"[".repeat(100_000)).is_err());
}

#[test]
fn documents_are_read_one_by_one() {
    let documents: Vec<Value> = from_multiple("---\na: 1\n---\n---\n- 2\n...\n").unwrap();
    assert_eq!(documents, [json!({ "a": 1 }), json!([2])]);
    assert_eq!(from_multiple::<Value>("").unwrap(), Vec::<Value>::new());
    assert_eq!(from_multiple::<Value>("# nothing\n").unwrap(), Vec::<Value>::new());
    assert!(wrong::<Value>("a\n---\nb\n").contains("more than one"));
}

#[test]
fn structures_are_read_as_their_fields_ask() {
    let user: User =
        from_str("name: 2024\ntoken: 017\nis-admin: yes\nshell: {Other: zsh}\nextra: [1]\n").unwrap();
    let rest = [("extra".to_owned(), json!([1]))].into_iter().collect();
    let token = Some("017".to_owned());
    let shell = Some(Shell::Other("zsh".to_owned()));
    assert_eq!(user, User { name: "2024".to_owned(), token, is_admin: true, shell, rest });
    let user: User = from_str("{name: '', token: ~, is-admin: off, shell: Sh}").unwrap();
    assert_eq!((user.token, user.is_admin, user.shell), (None, false, Some(Shell::Sh)));
}

#[test]
fn errors_say_where() {
    for (text, expected) in [
        ("[{name: a}, {name: [b]}]", "[1].name: invalid type: sequence, expected a string"),
        ("[{name: }]", "[0].name: invalid type: unit value, expected a string"),
        ("[{token: a}]", "[0]: missing field `name`"),
        ("5", "invalid type: integer `5`, expected a sequence"),
        ("[{name: a, shell: [Sh]}]", "[0].shell: invalid type: sequence, expected a name"),
    ] {
        assert_eq!(wrong::<Vec<User>>(text), expected);
    }
    let broken = wrong::<Value>("a: b\nc: [d\n");
    assert!(broken.contains("line 3") || broken.contains("line 2"), "{broken}");
}
