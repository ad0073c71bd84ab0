//! The program `ratequeue`. All of it is in the library, where tests reach it too.

fn main() -> std::process::ExitCode {
    ratequeue::main()
}
