//! A document as a tree.

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    /// Its text, and whether that stands there without quotes, so that it may be something else than text.
    Scalar(String, bool),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

/// What a scalar without quotes means, by the core schema of YAML 1.2.
#[derive(Debug, PartialEq)]
pub(crate) enum Meaning {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text,
}

impl Node {
    pub(crate) fn null() -> Self {
        Self::Scalar(String::new(), true)
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Scalar(text, true) if matches!(meaning(text), Meaning::Null))
    }

    /// Whether it is the key by which a map takes the entries of others.
    pub(crate) fn is_merge(&self) -> bool {
        matches!(self, Self::Scalar(text, true) if text == "<<")
    }
}

pub(crate) fn meaning(text: &str) -> Meaning {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Meaning::Null,
        "true" | "True" | "TRUE" => return Meaning::Bool(true),
        "false" | "False" | "FALSE" => return Meaning::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Meaning::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Meaning::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Meaning::Float(f64::NEG_INFINITY),
        _ => {}
    }
    let based = [("0x", 16), ("0o", 8)].into_iter().find_map(|(prefix, base)| {
        let digits = text.strip_prefix(prefix).filter(|digits| !digits.starts_with('+'))?;
        u64::from_str_radix(digits, base).ok()
    });
    // `inf` and `nan` are numbers for the standard library only.
    let looks_like_a_number = text.bytes().any(|byte| byte.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    if let Some(number) = based {
        Meaning::Unsigned(number)
    } else if !looks_like_a_number {
        Meaning::Text
    } else if let Ok(number) = text.parse::<u64>() {
        Meaning::Unsigned(number)
    } else if let Ok(number) = text.parse::<i64>() {
        Meaning::Signed(number)
    } else {
        text.parse().map_or(Meaning::Text, Meaning::Float)
    }
}
