//# allFunctionsCalledOnLoad
import{P as a,Q as b,R as c}from"./chunk-ZSLU47BZ.js";import"./chunk-MDZO2IS6.js";export{a as Activity,b as Invitations,c as NewProject};
