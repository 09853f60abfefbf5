//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-EDGXEFNC.js";import"./chunk-YBMVYSOS.js";export{a as Activity,b as Invitations,c as NewProject};
