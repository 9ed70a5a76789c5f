//! The fuzzers' corpus, on a stable compiler. `cargo +nightly fuzz run stomp` (and `sockjs`, `websocket`) looks for more.

#[path = "../fuzz/checks.rs"]
mod checks;

fn every(corpus: &str, check: fn(&[u8])) {
    let folder = format!("{}/fuzz/corpus/{corpus}", env!("CARGO_MANIFEST_DIR"));
    let mut files = 0;
    for entry in std::fs::read_dir(folder).expect("the corpus is there") {
        let data = std::fs::read(entry.expect("an entry").path()).expect("a file");
        check(&data);
        // And everything that is cut short.
        for end in 0..data.len().min(512) {
            check(&data[..end]);
        }
        files += 1;
    }
    assert!(files > 5, "the corpus of {corpus} has {files} files");
}

#[test]
fn the_stomp_decoder_holds_on_its_corpus() {
    every("stomp", checks::stomp);
}

#[test]
fn the_sockjs_decoder_holds_on_its_corpus() {
    every("sockjs", checks::sockjs);
}

#[test]
fn the_websocket_decoder_holds_on_its_corpus() {
    every("websocket", checks::websocket);
}
