//! Rebuilds the crate when a migration is added, since `sqlx::migrate!` tracks only the files that it has already embedded; and
//! links a repair of librdkafka, which `src/events/librdkafka.c` explains.

/// The function of librdkafka in whose place the linker calls that of the repair.
const REPAIRED: &str = "rd_kafkap_leader_discovery_set_topic";

fn main() {
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-changed=src/events/librdkafka.c");
    cc::Build::new()
        .file("src/events/librdkafka.c")
        .compile("librdkafka_repair");
    // `--undefined`: a linker that reads the libraries in their order would find the repair before it needs it.
    println!("cargo:rustc-link-arg=-Wl,--wrap={REPAIRED},--undefined=__wrap_{REPAIRED}");
}
