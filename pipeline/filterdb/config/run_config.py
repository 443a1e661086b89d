"""Everything a run needs to know, as one YAML file has it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from filterdb.config.reading import explain, read_yaml
from filterdb.config.sections import AnalyzeConfig, ExtractConfig, FiguresConfig, ProbeConfig, Section
from filterdb.config.values import as_list, checked_name, checked_scheduler


class RunConfig(Section):
    """Everything a run needs to know; one YAML file.

    Parameters
    ----------
    name
        Names the folder of the outputs, ``build/<name>``; the file's stem where not given.
    zoo
        Folders of models, or single models; :data:`DEMO` is the zoo that ships with the package.
    metadata
        The CSV or Parquet file that describes the models.
    workers
        Processes or threads; ``auto`` is one a core. A running Dask cluster has its own.
    scheduler
        ``local``, ``threads``, ``processes``, ``cluster``, or the address of a running Dask scheduler, such
        as ``tcp://10.0.0.1:8786``; ``docs/cluster.md`` says what each is.
    dashboard
        Say where the dashboard of the Dask cluster is.
    performance_report
        The HTML file that Dask's report of an analysis on a cluster goes to.
    strict
        Stop with an error where a model fails, instead of listing it.
    """

    name: Annotated[str, AfterValidator(checked_name)] = ""
    zoo: Annotated[tuple[str, ...], BeforeValidator(as_list)] = ()
    metadata: str | None = None
    workers: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] = "auto"
    scheduler: Annotated[str, AfterValidator(checked_scheduler)] = "local"
    dashboard: bool = False
    performance_report: str | None = None
    strict: bool = False
    extract: ExtractConfig = ExtractConfig()
    analyze: AnalyzeConfig = AnalyzeConfig()
    figures: FiguresConfig = FiguresConfig()
    probe: ProbeConfig = ProbeConfig()

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a configuration file.

        Raises
        ------
        ConfigError
            If the file cannot be read, or a key or value is unknown.
        """
        data = read_yaml(path)
        data.setdefault("name", path.stem)
        return cls.parse(data, where=path)

    @classmethod
    def parse(cls, data: dict[str, Any], *, where: object) -> Self:
        """Check plain containers and make them a configuration."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise explain(cls, error, where) from None

    def with_values(self, **values: Any) -> Self:
        """Return the configuration with top-level values that are not ``None`` replaced."""
        given = {name: value for name, value in values.items() if value is not None}
        return type(self).parse({**dict(self), **given}, where="command line")

    def with_extract(self, **values: Any) -> Self:
        """Return the configuration with values of the section ``extract`` replaced."""
        return self._with_section("extract", values)

    def with_analyze(self, **values: Any) -> Self:
        """Return the configuration with values of the section ``analyze`` replaced."""
        return self._with_section("analyze", values)

    def with_figures(self, **values: Any) -> Self:
        """Return the configuration with values of the section ``figures`` replaced."""
        return self._with_section("figures", values)

    def with_probe(self, **values: Any) -> Self:
        """Return the configuration with values of the section ``probe`` replaced."""
        return self._with_section("probe", values)

    def _with_section(self, name: str, values: Mapping[str, Any]) -> Self:
        given = {key: value for key, value in values.items() if value is not None}
        return self.with_values(**{name: {**dict(getattr(self, name)), **given}})
