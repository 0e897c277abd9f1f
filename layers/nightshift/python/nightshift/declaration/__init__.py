"""How a job and a project describe themselves. It uses neither database nor AWS."""

from typing import TYPE_CHECKING

from nightshift.faces import face

if TYPE_CHECKING:
    from nightshift.declaration.ages import (
        Age as Age,
        check_age as check_age,
        days as days,
        hours as hours,
        minutes as minutes,
        years as years,
    )
    from nightshift.declaration.deployment import (
        DeployedJob as DeployedJob,
        Deployment as Deployment,
        function_name as function_name,
    )
    from nightshift.declaration.discovery import (
        PLATFORM as PLATFORM,
        Registration as Registration,
        packs as packs,
        registry as registry,
        stack_name as stack_name,
    )
    from nightshift.declaration.job import (
        MAX_ROWS as MAX_ROWS,
        MAX_SHARE as MAX_SHARE,
        UNINDEXED_ROWS as UNINDEXED_ROWS,
        Job as Job,
        cleaned as cleaned,
    )
    from nightshift.declaration.parameters import Parameter as Parameter
    from nightshift.declaration.partitions import Detach as Detach, Drop as Drop
    from nightshift.declaration.policy import PERIODS_WITHOUT_SUCCESS as PERIODS_WITHOUT_SUCCESS, Policy as Policy
    from nightshift.declaration.project import (
        AfterRestore as AfterRestore,
        AuditTrail as AuditTrail,
        FinalFailures as FinalFailures,
        People as People,
        Project as Project,
        Reapplied as Reapplied,
        other_branches as other_branches,
        this_project as this_project,
    )
    from nightshift.declaration.rules import not_covered as not_covered, rule_expression as rule_expression
    from nightshift.declaration.run import Mode as Mode, Run as Run, Trigger as Trigger
    from nightshift.declaration.schedule import Schedule as Schedule, ScheduleError as ScheduleError
    from nightshift.declaration.step import (
        BATCHES as BATCHES,
        QUARANTINED as QUARANTINED,
        SAMPLE_SIZE as SAMPLE_SIZE,
        Batch as Batch,
        EventLog as EventLog,
        Execution as Execution,
        Step as Step,
        StepDefaults as StepDefaults,
        StepPlan as StepPlan,
        fingerprint_of as fingerprint_of,
        iso as iso,
    )

__getattr__ = face(
    __name__,
    ages="Age check_age days hours minutes years",
    deployment="DeployedJob Deployment function_name",
    discovery="PLATFORM Registration packs registry stack_name",
    job="Job MAX_ROWS MAX_SHARE UNINDEXED_ROWS cleaned",
    parameters="Parameter",
    partitions="Detach Drop",
    policy="PERIODS_WITHOUT_SUCCESS Policy",
    project="AfterRestore AuditTrail FinalFailures People Project Reapplied other_branches this_project",
    rules="not_covered rule_expression",
    run="Mode Run Trigger",
    schedule="Schedule ScheduleError",
    step="BATCHES Batch EventLog Execution QUARANTINED SAMPLE_SIZE Step StepDefaults StepPlan fingerprint_of iso",
)
