"""The driver's keys for trying a stage again and for what Prefect shows. No fingerprint has them."""

from stages.config import Checked, Float, Int, config_class, setting


@config_class
class RetryConfig(Checked):
    """What the driver does when a stage has lost a machine or a server. Bad input is never tried again."""

    times: Int = setting(0, "How often a stage is begun again, each time from its checkpoint.", unit="attempts", ge=0)
    wait_s: Float = setting(
        30.0, "How long to wait before the first further attempt; each next one waits twice as long.", unit="s", ge=0
    )
    max_wait_s: Float = setting(600.0, "The longest wait before an attempt.", unit="s", ge=0)

    def waits(self) -> list[float]:
        """Seconds to wait before each further attempt.

        >>> RetryConfig(times=4, wait_s=30, max_wait_s=100).waits()
        [30.0, 60.0, 100.0, 100.0]
        """
        return [min(self.wait_s * 2**number, self.max_wait_s) for number in range(self.times)]


@config_class
class PrefectConfig(Checked):
    """What Prefect's page shows of a run."""

    tags: list[str] = setting([], "Further tags of the flow run; those of the run and its recipe are always there.")
    report_url: str | None = setting(
        None,
        "Address under which `runs_dir` is served, for the link to the report: http://HOST/runs; null: a file:// link.",
    )

    def mistakes(self) -> list[str]:
        """An address."""
        if self.report_url is not None and "://" not in self.report_url:
            return ["report_url: an address begins with http:// or https://"]
        return []
