//! Runs the fuzz targets' checks on their corpus with the stable compiler. `make fuzz` searches for new inputs.

#[path = "../fuzz/checks.rs"]
mod checks;

fn check_corpus(corpus: &str, check: fn(&[u8])) {
    let folder = format!("{}/fuzz/corpus/{corpus}", env!("CARGO_MANIFEST_DIR"));
    let mut files = 0;
    for entry in std::fs::read_dir(folder).expect("the corpus is there") {
        let data = std::fs::read(entry.expect("an entry").path()).expect("a file");
        check(&data);
        // Every prefix too: a decoder must bear truncated input.
        for end in 0..data.len().min(512) {
            check(&data[..end]);
        }
        files += 1;
    }
    assert!(files > 5, "the corpus of {corpus} has {files} files");
}

#[test]
fn the_stomp_decoder_passes_its_corpus() {
    check_corpus("stomp", checks::stomp);
}

#[test]
fn the_sockjs_decoder_passes_its_corpus() {
    check_corpus("sockjs", checks::sockjs);
}

#[test]
fn the_websocket_decoder_passes_its_corpus() {
    check_corpus("websocket", checks::websocket);
}

#[test]
fn the_parsers_of_positions_pass_their_corpus() {
    check_corpus("positions", checks::positions);
}

#[test]
fn the_parsers_of_destinations_pass_their_corpus() {
    check_corpus("destinations", checks::destinations);
}
