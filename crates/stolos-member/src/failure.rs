//! What a failed request says to people.

/// Returns the message of the API server, or what kept the request from it. The error itself prints its whole status as
/// a value of the program.
pub(crate) fn told(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        kube::Error::Api(status) => format!("{} ({})", status.reason, status.code),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::told;

    #[test]
    fn a_refusal_is_told_in_the_words_of_the_api_server() {
        let message = "Apply failed with 1 conflict: conflict with \"me\" using v1: .data.k";
        let refused =
            kube::Error::Api(Box::new(Status::failure(message, "Conflict").with_code(409)));
        assert_eq!(told(&refused), message);
        let silent = kube::Error::Api(Box::new(Status::failure("", "Conflict").with_code(409)));
        assert_eq!(told(&silent), "Conflict (409)");
    }
}
