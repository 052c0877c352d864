use crate::Error;
pub(super) fn options(_p: &str, _a: &[String]) -> Result<(), Error> {
    Ok(())
}
pub(super) fn machine(_a: &[String]) -> Result<(), Error> {
    Ok(())
}
