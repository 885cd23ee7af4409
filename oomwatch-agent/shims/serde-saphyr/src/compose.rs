//! Events of the parser → trees.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, StrInput};

use crate::{error::Error, node::Node};

/// How many values a text may have, aliases counted as what they stand for: a few lines of them could be more than
/// there is memory.
const MOST_NODES: usize = 1 << 18;

/// All documents of a text.
pub(crate) fn documents(text: &str) -> Result<Vec<Node>, Error> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut composer = Composer { parser: Parser::new_from_str(text), anchors: HashMap::new(), nodes: 0 };
    let mut documents = Vec::new();
    while let Some(event) = composer.next()? {
        match event {
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            Event::DocumentStart(..) => composer.anchors.clear(),
            event => documents.push(composer.node(event)?),
        }
    }
    Ok(documents)
}

struct Composer<'text> {
    parser: Parser<'text, StrInput<'text>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl<'text> Composer<'text> {
    fn next(&mut self) -> Result<Option<Event<'text>>, Error> {
        self.parser.next_event().map(|event| event.map(|(event, _)| event).map_err(Error::new)).transpose()
    }

    /// The value that begins with `event`. The parser bounds how deep it may be.
    fn node(&mut self, event: Event<'text>) -> Result<Node, Error> {
        self.count(1)?;
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
                (Node::Scalar(text.into_owned(), style == ScalarStyle::Plain && !is_text), anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                let mut list = Vec::new();
                while let Some(node) = self.unless(&Event::SequenceEnd)? {
                    list.push(node);
                }
                (Node::List(list), anchor)
            }
            Event::MappingStart(_, anchor, _) => {
                let mut map = Vec::new();
                while let Some(key) = self.unless(&Event::MappingEnd)? {
                    map.push((key, self.unless(&Event::MappingEnd)?.unwrap_or_else(Node::null)));
                }
                (Node::Map(merged(map)?), anchor)
            }
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned();
                let node = node.ok_or_else(|| Error::new("an alias within what it stands for"))?;
                self.count(size(&node))?;
                (node, 0)
            }
            _ => return Err(Error::new("a value was expected")),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    /// The next value, or none where `end` comes.
    fn unless(&mut self, end: &Event<'_>) -> Result<Option<Node>, Error> {
        match self.next()? {
            Some(event) if event == *end => Ok(None),
            Some(event) => self.node(event).map(Some),
            None => Err(Error::new("it ends within a value")),
        }
    }

    fn count(&mut self, nodes: usize) -> Result<(), Error> {
        self.nodes += nodes;
        if self.nodes > MOST_NODES { Err(Error::new("it has too many values")) } else { Ok(()) }
    }
}

/// A map with the entries that `<<` takes from others, where it has none of that key itself.
fn merged(map: Vec<(Node, Node)>) -> Result<Vec<(Node, Node)>, Error> {
    let (merges, mut map): (Vec<_>, Vec<_>) = map.into_iter().partition(|(key, _)| key.is_merge());
    for (_, from) in merges {
        let sources = if let Node::List(sources) = from { sources } else { vec![from] };
        for source in sources {
            let Node::Map(entries) = source else { return Err(Error::new("<< takes maps alone")) };
            for (key, value) in entries {
                if map.iter().all(|(own, _)| *own != key) {
                    map.push((key, value));
                }
            }
        }
    }
    Ok(map)
}

fn size(node: &Node) -> usize {
    match node {
        Node::Scalar(..) => 1,
        Node::List(list) => 1 + list.iter().map(size).sum::<usize>(),
        Node::Map(map) => 1 + map.iter().map(|(key, value)| size(key) + size(value)).sum::<usize>(),
    }
}
