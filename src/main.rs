//! Arguments in, exit code out; nothing else.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    trunkline::cli::run(std::env::args_os())
}
