//! Makes the client from the contract; `protox` reads the files, so that no `protoc` is needed.

use std::error::Error;

const PROTOS: &str = "../../../protos";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={PROTOS}/turnout/v1/router.proto");
    let files = protox::compile(["turnout/v1/router.proto"], [PROTOS])?;
    tonic_prost_build::configure().build_server(false).compile_fds(files)?;
    Ok(())
}
