//# allFunctionsCalledOnLoad
import{P as a,Q as b,R as c}from"./chunk-OYTUNAOZ.js";import"./chunk-HPRLC6L6.js";export{a as Activity,b as Invitations,c as NewProject};
